//! Eigenvectors of a symmetric 3x3 matrix, by rotations (Jacobi 1846).

/// Rounds of rotations over the three pairs of axes, until the matrix is diagonal; convergence is quadratic.
const SWEEPS: usize = 30;

/// Eigenvalues of the symmetric `matrix`, largest first, and their unit eigenvectors as rows.
///
/// The sign of an eigenvector is free; here its entry of largest magnitude is positive.
pub(super) fn eigen(mut matrix: [[f64; 3]; 3]) -> ([f64; 3], [[f64; 3]; 3]) {
    let mut vectors = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    for (p, q) in [(0, 1), (0, 2), (1, 2)].repeat(SWEEPS) {
        if matrix[p][q] == 0.0 {
            continue;
        }
        // The smaller of the two angles that bring the entry to zero.
        let theta = (matrix[q][q] - matrix[p][p]) / (2.0 * matrix[p][q]);
        let tangent = theta.signum() / (theta.abs() + theta.hypot(1.0));
        let cosine = 1.0 / tangent.hypot(1.0);
        let sine = tangent * cosine;
        let rotate = |x: f64, y: f64| (cosine * x - sine * y, sine * x + cosine * y);
        for row in &mut matrix {
            (row[p], row[q]) = rotate(row[p], row[q]);
        }
        for column in 0..3 {
            (matrix[p][column], matrix[q][column]) = rotate(matrix[p][column], matrix[q][column]);
            (vectors[p][column], vectors[q][column]) = rotate(vectors[p][column], vectors[q][column]);
        }
    }
    let mut order = [0, 1, 2];
    order.sort_by(|&a, &b| matrix[b][b].total_cmp(&matrix[a][a]));
    let upright = |vector: [f64; 3]| {
        let largest = vector.into_iter().fold(0.0, |most: f64, x| if x.abs() > most.abs() { x } else { most });
        vector.map(|x| x * largest.signum())
    };
    (order.map(|i| matrix[i][i]), order.map(|i| upright(vectors[i])))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn vectors_are_orthonormal_and_rebuild_the_matrix(entries in prop::array::uniform6(-1e4_f64..1e4)) {
            let [a, b, c, d, e, f] = entries;
            let matrix = [[a, b, c], [b, d, e], [c, e, f]];
            let (values, vectors) = eigen(matrix);
            prop_assert!(values[0] >= values[1] && values[1] >= values[2]);
            for i in 0..3 {
                for j in 0..3 {
                    let dot: f64 = (0..3).map(|k| vectors[i][k] * vectors[j][k]).sum();
                    prop_assert!((dot - f64::from(u8::from(i == j))).abs() < 1e-12);
                    let entry: f64 = (0..3).map(|k| values[k] * vectors[k][i] * vectors[k][j]).sum();
                    prop_assert!((entry - matrix[i][j]).abs() < 1e-8, "{} for {}", entry, matrix[i][j]);
                }
            }
        }
    }

    #[test]
    fn special_matrices() {
        assert_eq!(eigen([[0.0; 3]; 3]).0, [0.0; 3]);
        assert_eq!(eigen([[1.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 2.0]]).0, [3.0, 2.0, 1.0]);
        let (values, vectors) = eigen([[2.0; 3]; 3]);
        assert!((values[0] - 6.0).abs() < 1e-12 && values[1].abs() < 1e-12 && values[2].abs() < 1e-12, "{values:?}");
        assert!(vectors[0].iter().all(|x| (x - 3.0_f64.sqrt().recip()).abs() < 1e-12), "{vectors:?}");
    }
}
