//! Normalisation by an image's own numbers, resampling, blocks of pixels, transposed convolutions: against their
//! definitions in f64, number by number.

use alexnet::interop::onnx::proto::AttributeProto;
use alexnet::tensor::Tensor;

use super::{gives, single, wide};
use crate::cli::contains;
use crate::onnx::file::{File, float, floats, int, integers, ints, random, text};

/// Mean and deviation of some numbers.
fn moments(values: &[f64], epsilon: f64) -> [f64; 2] {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
    [mean, (variance + epsilon).sqrt()]
}

#[test]
fn normalisation_by_own_numbers() {
    let x = random(&[2, 6, 3, 5], 0);
    let numbers = wide(&x);
    let epsilon = vec![float("epsilon", 0.01)];
    // Runs of the numbers that are normalised together, and the place in scale and shift of number i.
    let check =
        |op: &str, attributes: &[AttributeProto], opset, run: usize, dims: &[usize], at: &dyn Fn(usize) -> usize| {
            let (scale, shift) = (random(dims, 1), random(dims, 2));
            let value = |i: usize| {
                let [mean, deviation] = moments(&numbers[i / run * run..][..run], 0.01);
                (numbers[i] - mean) / deviation * wide(&scale)[at(i)] + wide(&shift)[at(i)]
            };
            let all = [("x", &x), ("s", &scale), ("b", &shift)];
            let file = single(opset, op, &all, &["s", "b"], [attributes, &epsilon].concat());
            gives(&file, &all[..1], &[(x.shape().to_vec(), (0..180).map(value).collect())]);
        };
    check("InstanceNormalization", &[], 17, 15, &[6], &|i| i / 15 % 6);
    check("GroupNormalization", &[int("num_groups", 2)], 21, 45, &[6], &|i| i / 15 % 6);
    check("GroupNormalization", &[int("num_groups", 2)], 18, 45, &[2], &|i| i / 45 % 2);
    check("LayerNormalization", &[], 17, 5, &[5], &|i| i % 5);
    check("LayerNormalization", &[int("axis", 1)], 17, 90, &[6, 3, 5], &|i| i % 90);
    check("LayerNormalization", &[int("axis", 2)], 17, 15, &[5], &|i| i % 5);
    let scale = random(&[5], 1);
    let roots = |i: usize| {
        let squares: f64 = numbers[i / 5 * 5..][..5].iter().map(|v| v * v).sum();
        numbers[i] / (squares / 5.0 + 0.01).sqrt() * wide(&scale)[i % 5]
    };
    let both = [("x", &x), ("s", &scale)];
    let file = single(23, "RMSNormalization", &both, &["s"], epsilon.clone());
    gives(&file, &both[..1], &[(x.shape().to_vec(), (0..180).map(roots).collect())]);
    let apart = single(
        21,
        "GroupNormalization",
        &[("x", &x), ("s", &scale), ("b", &scale)],
        &["s", "b"],
        vec![int("num_groups", 4)],
    );
    contains(&apart.refused(&[("x", x.shape())]), &["(GroupNormalization)", "4 groups of 6 maps"]);
    let other = single(17, "InstanceNormalization", &[("x", &x), ("s", &scale), ("b", &scale)], &["s", "b"], vec![]);
    contains(&other.refused(&[("x", x.shape())]), &["[5]", "expected 6 numbers"]);
}

/// Every line of the result as a sum of lines of the input: line, weight.
type Weights = fn(usize) -> Vec<(usize, f64)>;

#[test]
fn resampling() {
    let x = random(&[2, 3, 4, 2], 0);
    let numbers = wide(&x);
    let scales = |values: [f32; 4]| floats("scales", &Tensor::new([4], values.to_vec()));
    let node = |file: File, attributes: &[AttributeProto]| {
        file.node("Resize", &["x", "", "scales"], &["y"], attributes.to_vec()).outputs(&["y"])
    };
    let start = || File::new(19).input("x", &[2, 3, 4, 2]);
    let check = |file: &File, height: usize, width: usize, rows: Weights, columns: Weights| {
        let value = |i: usize| {
            let (map, y, x) = (i / (height * width), i / width % height, i % width);
            let row =
                |line: usize| columns(x).iter().map(|(at, w)| w * numbers[(map * 4 + line) * 2 + at]).sum::<f64>();
            rows(y).iter().map(|(line, weight)| weight * row(*line)).sum()
        };
        let wanted = (vec![2, 3, height, width], (0..6 * height * width).map(value).collect());
        gives(file, &[("x", &x)], &[wanted]);
    };
    let twice = start().constant(scales([1.0, 1.0, 2.0, 3.0]));
    check(&node(twice.clone(), &[]), 8, 6, |y| vec![(y / 2, 1.0)], |x| vec![(x / 3, 1.0)]);
    let line = Tensor::new([1], vec![3.0]);
    let many = File::new(19).input("z", &[1]).constant(floats("scales", &Tensor::new([1], vec![70_000.0])));
    let many = many.node("Resize", &["z", "", "scales"], &["y"], vec![]).outputs(&["y"]);
    gives(&many, &[("z", &line)], &[(vec![70_000], vec![3.0; 70_000])]);
    let corners = [text("coordinate_transformation_mode", "align_corners"), text("mode", "linear")];
    let rows = |y: usize| {
        let place = (3 * y) as f64 / 7.0;
        let first = (place as usize).min(2);
        vec![(first, 1.0 - (place - first as f64)), (first + 1, place - first as f64)]
    };
    check(&node(twice.clone(), &corners), 8, 6, rows, |x| vec![(0, 1.0 - x as f64 / 5.0), (1, x as f64 / 5.0)]);
    // Half the lines: centres lie between two of them.
    let halves = start().constant(scales([1.0, 1.0, 0.5, 1.0]));
    let linear = [text("mode", "linear")];
    check(&node(halves, &linear), 2, 2, |y| vec![(2 * y, 0.5), (2 * y + 1, 0.5)], |x| vec![(x, 1.0)]);
    // To given extents, by cubics: of three lines from two the middle one lies half way, and has as much of both.
    let sizes = start().constant(integers("sizes", &[4, 3])).node(
        "Resize",
        &["x", "", "", "sizes"],
        &["y"],
        vec![text("mode", "cubic"), ints("axes", &[2, 3]), int("exclude_outside", 1), float("cubic_coeff_a", -0.5)],
    );
    let third = |x: usize| {
        if x == 1 {
            vec![(0, 0.5), (1, 0.5)]
        } else {
            // At -1/6 and 7/6 one line inside is 1/6 away from the place, the other 7/6, as cubics weigh them.
            let near = |d: f64| (1.5 * d - 2.5) * d * d + 1.0;
            let beyond = |d: f64| ((-0.5 * d + 2.5) * d - 4.0) * d + 2.0;
            let [own, other] = [near(1.0 / 6.0), beyond(7.0 / 6.0)];
            let weights = [own / (own + other), other / (own + other)];
            vec![(x / 2, weights[0]), (1 - x / 2, weights[1])]
        }
    };
    check(&sizes.outputs(&["y"]), 4, 3, |y| vec![(y, 1.0)], third);
    // Before the rounding could be said, it was up where lines are left out.
    let old = File::new(10).input("x", &[2, 3, 4, 2]).constant(scales([1.0, 1.0, 0.6, 1.5]));
    let old = old.node("Resize", &["x", "scales"], &["y"], vec![]).outputs(&["y"]);
    check(&old, 2, 3, |y| vec![(2 * y, 1.0)], |x| vec![([0, 0, 1][x], 1.0)]);
    let old = File::new(9).input("x", &[2, 3, 4, 2]).constant(scales([1.0, 1.0, 1.5, 2.0]));
    let old = old.node("Upsample", &["x", "scales"], &["y"], vec![]).outputs(&["y"]);
    check(&old, 6, 4, |y| vec![([0, 0, 1, 2, 2, 3][y], 1.0)], |x| vec![(x / 2, 1.0)]);
    let known: [(&[AttributeProto], &[&str]); 3] = [
        (
            &[text("coordinate_transformation_mode", "tf_crop_and_resize")],
            &["(Resize)", "tf_crop_and_resize", "known are"],
        ),
        (&[int("antialias", 1)], &["antialias is 1, expected 0"]),
        (&[text("mode", "area")], &["area of attribute mode", "nearest, linear, cubic"]),
    ];
    for (attributes, words) in known {
        contains(&node(twice.clone(), attributes).refused(&[("x", x.shape())]), words);
    }
    let none = start().constant(scales([1.0, 1.0, 0.1, 1.0]));
    contains(&node(none, &[]).refused(&[("x", x.shape())]), &["extent of 4 scaled by 0.1", "expected 1 or more"]);
    let few = start().constant(floats("scales", &Tensor::new([2], vec![1.0, 2.0])));
    contains(&node(few, &[]).refused(&[("x", x.shape())]), &["2 scales or sizes for 4 axes"]);
}

/// Short files that ask for much are refused before it is there.
#[test]
fn constants_that_nodes_make_are_bounded() {
    let mut file = File::new(19)
        .input("x0", &[1, 1, 4096, 1])
        .constant(floats("scales", &Tensor::new([4], vec![1.0, 1.0, 1.0001, 1.0])));
    for (from, to) in [("x0", "x1"), ("x1", "x2"), ("x2", "x3"), ("x3", "x4"), ("x4", "x5")] {
        file = file.node("Resize", &[from, "", "scales"], &[to], vec![text("mode", "linear")]);
    }
    let refused = file.outputs(&["x5"]).refused(&[("x0", &[1, 1, 4096, 1])]);
    contains(&refused, &["(Resize)", "320 MiB", "at most 256"]);
    // Of a product of 256 numbers each takes a copy and a run.
    let mut file = File::new(18).input("x", &[256]);
    let names: Vec<String> = (0..600).map(|i| format!("y{i}")).collect();
    for name in &names {
        file = file.node("ReduceProd", &["x"], &[name], vec![]);
    }
    let outputs: Vec<&str> = names.iter().map(String::as_str).collect();
    contains(&file.outputs(&outputs).refused(&[("x", &[256])]), &["(ReduceProd)", "runs of kernels", "at most 262144"]);
    let file = File::new(13).input("x", &[1, 1, 4, 4]).constant(integers("d", &[1, 1, 32000, 32000]));
    let file = file.constant(floats("one", &Tensor::new([1], vec![1.0])));
    let file = file.node("Expand", &["one", "d"], &["w"], vec![]).node("ConvTranspose", &["x", "w"], &["y"], vec![]);
    contains(&file.outputs(&["y"]).refused(&[("x", &[1, 1, 4, 4])]), &["(ConvTranspose)", "too large"]);
}

#[test]
fn blocks_of_pixels_are_channels() {
    let (deep, wide_map) = (random(&[2, 8, 2, 3], 0), random(&[2, 2, 4, 6], 1));
    // Of an element of the wide map its image, channel, row and column.
    let parts = |i: usize| (i / 48, i / 24 % 2, i / 6 % 4, i % 6);
    for inner in [false, true] {
        let from = |i: usize| {
            let (image, channel, y, x) = parts(i);
            let place = y % 2 * 2 + x % 2;
            let channel = if inner { channel * 4 + place } else { place * 2 + channel };
            ((image * 8 + channel) * 2 + y / 2) * 3 + x / 2
        };
        let mode = if inner { vec![int("blocksize", 2), text("mode", "CRD")] } else { vec![int("blocksize", 2)] };
        let wanted = (0..96).map(|i| wide(&deep)[from(i)]).collect();
        let file = single(13, "DepthToSpace", &[("x", &deep)], &[], mode);
        gives(&file, &[("x", &deep)], &[(vec![2, 2, 4, 6], wanted)]);
        if !inner {
            let mut wanted = vec![0.0; 96];
            (0..96).for_each(|i| wanted[from(i)] = wide(&wide_map)[i]);
            let file = single(13, "SpaceToDepth", &[("x", &wide_map)], &[], vec![int("blocksize", 2)]);
            gives(&file, &[("x", &wide_map)], &[(vec![2, 8, 2, 3], wanted)]);
        }
    }
    let file = single(13, "DepthToSpace", &[("x", &deep)], &[], vec![int("blocksize", 3)]);
    contains(
        &file.refused(&[("x", deep.shape())]),
        &["(DepthToSpace)", "blocks of 3 do not fit a tensor of [2, 8, 2, 3]"],
    );
}

/// Groups, strides, dilations, pads, further places behind.
type Transposed = (usize, [usize; 2], [usize; 2], [usize; 4], [usize; 2]);

#[test]
fn transposed_convolutions() {
    let x = random(&[2, 4, 3, 2], 0);
    let cases: [Transposed; 5] = [
        (1, [1, 1], [1, 1], [0, 0, 0, 0], [0, 0]),
        (2, [2, 3], [1, 1], [1, 0, 0, 1], [1, 0]),
        (1, [2, 2], [2, 1], [2, 1, 1, 0], [0, 1]),
        (4, [1, 2], [1, 2], [2, 0, 2, 1], [0, 0]),
        // More is cut off than a window has places.
        (1, [1, 3], [1, 1], [3, 2, 1, 2], [0, 1]),
    ];
    for (tag, (groups, strides, dilations, pads, further)) in (1..).zip(cases) {
        let (own, [r, s]) = (if groups == 4 { 1 } else { 3 }, [3, 2]);
        let (w, b) = (random(&[4, own, r, s], tag), random(&[own * groups], 9));
        let extent = |at: usize, size: usize, window: usize| {
            strides[at] * (size - 1) + further[at] + (window - 1) * dilations[at] + 1 - pads[at] - pads[at + 2]
        };
        let (height, width, maps) = (extent(0, 3, r), extent(1, 2, s), own * groups);
        let mut wanted: Vec<f64> =
            (0..2 * maps * height * width).map(|i| wide(&b)[i / (height * width) % maps]).collect();
        for i in 0..2 * 4 * 6 * own * r * s {
            let (rest, column) = (i / s, i % s);
            let (rest, row) = (rest / r, rest % r);
            let (rest, k) = (rest / own, rest % own);
            let (n, c, y, p) = (rest / 24, rest / 6 % 4, rest / 2 % 3, rest % 2);
            let to = [(y, row, 0), (p, column, 1)]
                .map(|(at, inside, axis)| (at * strides[axis] + inside * dilations[axis]).wrapping_sub(pads[axis]));
            if to[0] < height && to[1] < width {
                let map = c / (4 / groups) * own + k;
                let filter = wide(&w)[((c * own + k) * r + row) * s + column];
                wanted[((n * maps + map) * height + to[0]) * width + to[1]] += filter * wide(&x)[rest];
            }
        }
        let list = |name: &str, values: &[usize]| ints(name, &values.iter().map(|&v| v as i64).collect::<Vec<_>>());
        let attributes = vec![
            int("group", groups as i64),
            list("strides", &strides),
            list("dilations", &dilations),
            list("pads", &pads),
            list("output_padding", &further),
        ];
        let all = [("x", &x), ("w", &w), ("b", &b)];
        let file = single(11, "ConvTranspose", &all, &["w", "b"], attributes);
        gives(&file, &all[..1], &[(vec![2, maps, height, width], wanted)]);
    }
    let w = random(&[4, 1, 3, 3], 1);
    let both = [("x", &x), ("w", &w)];
    let refused = |attributes| single(11, "ConvTranspose", &both, &["w"], attributes).refused(&[("x", x.shape())]);
    contains(&refused(vec![ints("pads", &[3, 0, 2, 0])]), &["(ConvTranspose)", "3 and 2 places", "extent of 5"]);
    contains(&refused(vec![int("group", 3)]), &["group 3"]);
    contains(&refused(vec![ints("output_shape", &[5, 0])]), &["2 and 2 places"]);
    let open = single(11, "ConvTranspose", &both, &[], vec![]);
    contains(&open.refused(&[("x", x.shape()), ("w", w.shape())]), &["w has to be numbers that are known"]);
    let same =
        single(11, "ConvTranspose", &both, &["w"], vec![ints("strides", &[2, 2]), text("auto_pad", "SAME_UPPER")]);
    let devices = alexnet::backend::Engine::Cpu;
    assert_eq!(same.run(&devices, &[("x", &x)])[0].shape(), [2, 1, 6, 4]);
    // A stated extent takes padding, more before than behind, or zeros behind.
    let spread = |attributes: &[AttributeProto]| {
        let attributes = [attributes, &[ints("strides", &[2, 2])]].concat();
        single(11, "ConvTranspose", &both, &["w"], attributes).run(&devices, &[("x", &x)])[0].clone()
    };
    let stated = spread(&[ints("output_shape", &[4, 7])]);
    assert_eq!(stated.shape(), [2, 1, 4, 7]);
    assert_eq!(stated, spread(&[ints("pads", &[2, 0, 1, 0]), ints("output_padding", &[0, 2])]));
}

/// Windows of an adaptive pool, as the exporter of torch.export lists them.
#[test]
fn places_of_a_grid_are_gathered() {
    let x = random(&[4, 5, 2], 0);
    let (rows, columns) = ([[0, 1], [1, -1]], [0, 4, 2]);
    let places: Vec<i64> = (0..12).flat_map(|i| [rows[i / 6][i / 3 % 2], columns[i % 3]]).collect();
    let places = alexnet::interop::onnx::proto::TensorProto { dims: vec![2, 2, 3, 2], ..integers("p", &places) };
    let file = File::new(13).input("x", &[4, 5, 2]).constant(places);
    let file = file.node("GatherND", &["x", "p"], &["y"], vec![]).outputs(&["y"]);
    let value = |i: usize| {
        let (row, column) = (rows[i / 12][i / 6 % 2].rem_euclid(4) as usize, columns[i / 2 % 3] as usize);
        wide(&x)[(row * 5 + column) * 2 + i % 2]
    };
    gives(&file, &[("x", &x)], &[(vec![2, 2, 3, 2], (0..24).map(value).collect())]);
    let loose = alexnet::interop::onnx::proto::TensorProto { dims: vec![3, 2], ..integers("p", &[0, 0, 1, 1, 3, 2]) };
    let loose = File::new(13).input("x", &[4, 5, 2]).constant(loose);
    let loose = loose.node("GatherND", &["x", "p"], &["y"], vec![]).outputs(&["y"]);
    contains(&loose.refused(&[("x", x.shape())]), &["(GatherND)", "no grid"]);
}

/// An operator, and what it computes.
type Named<T> = (&'static str, fn(T) -> f64);

/// Sums of sizes and squares, and the smallest number.
#[test]
fn further_reductions() {
    let x = random(&[2, 3, 4], 0);
    let columns: Vec<Vec<f64>> =
        (0..8).map(|i| (0..3).map(|c| wide(&x)[(i / 4 * 3 + c) * 4 + i % 4]).collect()).collect();
    let cases: [Named<&[f64]>; 5] = [
        ("ReduceL1", |v| v.iter().map(|v| v.abs()).sum()),
        ("ReduceL2", |v| v.iter().map(|v| v * v).sum::<f64>().sqrt()),
        ("ReduceProd", |v| v.iter().product()),
        ("ReduceSumSquare", |v| v.iter().map(|v| v * v).sum()),
        ("ReduceMin", |v| v.iter().copied().fold(f64::INFINITY, f64::min)),
    ];
    for (op, of) in cases {
        let wanted = columns.iter().map(|column| of(column)).collect();
        let file = single(13, op, &[("x", &x)], &[], vec![ints("axes", &[1])]);
        gives(&file, &[("x", &x)], &[(vec![2, 1, 4], wanted)]);
    }
    let (b, c) = (random(&[4], 1), random(&[2, 3, 4], 2));
    let three = [("x", &x), ("b", &b), ("c", &c)];
    let folds: [Named<[f64; 3]>; 3] = [
        ("Max", |v| v.into_iter().fold(f64::NEG_INFINITY, f64::max)),
        ("Min", |v| v.into_iter().fold(f64::INFINITY, f64::min)),
        ("Mean", |v| v.iter().sum::<f64>() / 3.0),
    ];
    for (op, of) in folds {
        let wanted = (0..24).map(|i| of([wide(&x)[i], wide(&b)[i % 4], wide(&c)[i]])).collect();
        gives(&single(13, op, &three, &[], vec![]), &three, &[(vec![2, 3, 4], wanted)]);
    }
}
