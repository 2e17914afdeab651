//! Functions of one number, what moves elements, sizes computed on the host, normalisation of maps, choices.

use alexnet::interop::onnx::proto::attribute_proto::AttributeType;
use alexnet::interop::onnx::proto::tensor_proto::DataType;
use alexnet::interop::onnx::proto::{AttributeProto, GraphProto, TensorProto};
use alexnet::tensor::Tensor;

use super::{engines, gives, single, wide};
use crate::cli::contains;
use crate::onnx::file::{File, float, floats, int, integers, ints, random, text};

/// An operator with its attributes, and what it makes of a number.
type OneNumber = (&'static str, Vec<AttributeProto>, fn(f64) -> f64);

/// The error function, by its series.
fn erf(x: f64) -> f64 {
    let mut term = x;
    let mut sum = x;
    for n in 1..100 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * std::f64::consts::FRAC_2_SQRT_PI
}

#[test]
fn functions_of_one_number() {
    let x = random(&[2, 3, 4, 1], 0);
    let cases: [OneNumber; 21] = [
        ("LeakyRelu", vec![float("alpha", 0.1)], |x| if x < 0.0 { 0.1 * x } else { x }),
        ("LeakyRelu", vec![], |x| if x < 0.0 { 0.01 * x } else { x }),
        ("Elu", vec![float("alpha", 0.5)], |x| if x < 0.0 { 0.5 * x.exp_m1() } else { x }),
        ("Sigmoid", vec![], |x| 1.0 / (1.0 + (-x).exp())),
        ("HardSigmoid", vec![float("alpha", 0.5)], |x| (0.5 * x + 0.5).clamp(0.0, 1.0)),
        ("HardSwish", vec![], |x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0)),
        ("Clip", vec![], |x| x),
        ("Exp", vec![], f64::exp),
        ("Abs", vec![], f64::abs),
        ("Softplus", vec![], |x| x.exp().ln_1p()),
        ("Softsign", vec![], |x| x / (1.0 + x.abs())),
        ("Sign", vec![], f64::signum),
        ("Reciprocal", vec![], f64::recip),
        ("Gelu", vec![], |x| x * 0.5 * (1.0 + erf(x / 2.0_f64.sqrt()))),
        ("Selu", vec![], |x| 1.050_701 * if x < 0.0 { 1.673_263_2 * x.exp_m1() } else { x }),
        ("Celu", vec![float("alpha", 0.5)], |x| if x < 0.0 { 0.5 * (2.0 * x).exp_m1() } else { x }),
        ("Mish", vec![], |x| x * x.exp().ln_1p().tanh()),
        ("Gelu", vec![text("approximate", "tanh")], |x| {
            x * 0.5 * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh())
        }),
        ("Swish", vec![float("alpha", 1.5)], |x| x / (1.0 + (-1.5 * x).exp())),
        ("Neg", vec![], |x| -x),
        ("ReduceMean", vec![ints("axes", &[3])], |x| x),
    ];
    for (op, attributes, f) in cases {
        let wanted = wide(&x).into_iter().map(f).collect();
        gives(&single(14, op, &[("x", &x)], &[], attributes), &[("x", &x)], &[(vec![2, 3, 4, 1], wanted)]);
    }
    let (low, high, slope) =
        (Tensor::new([0_usize; 0], vec![-0.5]), Tensor::new([0_usize; 0], vec![0.25]), random(&[3, 1, 1], 1));
    let clipped =
        |low: f64, high: f64| vec![(x.shape().to_vec(), wide(&x).iter().map(|x| x.clamp(low, high)).collect())];
    let both = [("x", &x), ("low", &low), ("high", &high)];
    gives(&single(13, "Clip", &both, &["low", "high"], vec![]), &both[..1], &clipped(-0.5, 0.25));
    gives(&single(13, "Clip", &both[..2], &["low"], vec![]), &both[..1], &clipped(-0.5, f64::INFINITY));
    gives(&single(13, "Clip", &both, &["high"], vec![]), &both[..2], &clipped(-0.5, 0.25));
    gives(&single(13, "Clip", &both, &[], vec![]), &both, &clipped(-0.5, 0.25));
    let old = vec![float("min", 0.0), float("max", 6.0)];
    gives(&single(6, "Clip", &both[..1], &[], old), &both[..1], &clipped(0.0, 6.0));
    let leak = |i: usize, x: f64| if x < 0.0 { x * f64::from(slope.values()[i / 4 % 3]) } else { x };
    let leaky = wide(&x).into_iter().enumerate().map(|(i, x)| leak(i, x)).collect();
    let file = single(13, "PRelu", &[("x", &x), ("slope", &slope)], &["slope"], vec![]);
    gives(&file, &[("x", &x)], &[(x.shape().to_vec(), leaky)]);
    let (b, c) = (random(&[4, 1], 2), random(&[2, 3, 4, 1], 3));
    let sum = (0..24).map(|i| wide(&x)[i] + wide(&b)[i % 4] + wide(&c)[i]).collect();
    let three = [("x", &x), ("b", &b), ("c", &c)];
    gives(&single(13, "Sum", &three, &[], vec![]), &three, &[(x.shape().to_vec(), sum)]);
    let log = File::new(13).input("x", &[2, 3, 4, 1]).node("Exp", &["x"], &["e"], vec![]);
    let log = log.node("Log", &["e"], &["y"], vec![]).outputs(&["y"]);
    gives(&log, &[("x", &x)], &[(x.shape().to_vec(), wide(&x))]);
    let square = File::new(13).input("x", &[2, 3, 4, 1]).constant(integers("two", &[2]));
    let square = square.node("Pow", &["x", "two"], &["y"], vec![]).outputs(&["y"]);
    gives(&square, &[("x", &x)], &[(x.shape().to_vec(), wide(&x).iter().map(|x| x * x).collect())]);
}

#[test]
fn normalisation_of_maps_by_statistics() {
    let (x, [scale, shift, mean, spread]) = (random(&[3, 5, 4, 2], 0), [1, 2, 3, 4].map(|tag| random(&[5], tag)));
    let variance = Tensor::new([5], spread.values().iter().map(|v| v * v + 0.1).collect::<Vec<_>>());
    let all = [("x", &x), ("s", &scale), ("b", &shift), ("m", &mean), ("v", &variance)];
    let value = |i: usize| {
        let at = |tensor: &Tensor| f64::from(tensor.values()[i / 8 % 5]);
        at(&scale) * (f64::from(x.values()[i]) - at(&mean)) / (at(&variance) + 0.01).sqrt() + at(&shift)
    };
    let wanted = [(x.shape().to_vec(), (0..120).map(value).collect())];
    let file = single(15, "BatchNormalization", &all, &["s", "b", "m", "v"], vec![float("epsilon", 0.01)]);
    gives(&file, &[("x", &x)], &wanted);
    let open = [("x", &x), ("s", &scale), ("v", &variance)];
    gives(&single(15, "BatchNormalization", &all, &["b", "m"], vec![float("epsilon", 0.01)]), &open, &wanted);
    let training = single(15, "BatchNormalization", &all, &["s", "b", "m", "v"], vec![int("training_mode", 1)]);
    contains(&training.refused(&[("x", x.shape())]), &["(BatchNormalization)", "training_mode", "only evaluated"]);
}

/// Behind a convolution that nothing else reads the statistics go into its filters.
#[test]
fn normalisation_of_what_a_convolution_makes() {
    let (x, w, b) = (random(&[2, 3, 4, 1], 0), random(&[5, 3, 1, 1], 1), random(&[5], 2));
    let [scale, shift, mean, spread] = [3, 4, 5, 6].map(|tag| random(&[5], tag));
    let variance = Tensor::new([5], spread.values().iter().map(|v| v * v + 0.1).collect::<Vec<_>>());
    let numbers = [("w", &w), ("b", &b), ("s", &scale), ("t", &shift), ("m", &mean), ("v", &variance)];
    let file = numbers
        .iter()
        .fold(File::new(15).input("x", &[2, 3, 4, 1]), |file, (name, tensor)| file.constant(floats(name, tensor)));
    let file = file
        .node("Conv", &["x", "w", "b"], &["maps"], vec![])
        .node("BatchNormalization", &["maps", "s", "t", "m", "v"], &["normal"], vec![float("epsilon", 0.01)])
        .node("Relu", &["normal"], &["y"], vec![])
        .outputs(&["y"]);
    let value = |i: usize| {
        let (n, map, pixel) = (i / 20, i / 4 % 5, i % 4);
        let at = |tensor: &Tensor| f64::from(tensor.values()[map]);
        let product = |c: usize| f64::from(w.values()[map * 3 + c]) * f64::from(x.values()[(n * 3 + c) * 4 + pixel]);
        let sum = at(&b) + (0..3).map(product).sum::<f64>();
        (at(&scale) * (sum - at(&mean)) / (at(&variance) + 0.01).sqrt() + at(&shift)).max(0.0)
    };
    gives(&file, &[("x", &x)], &[(vec![2, 5, 4, 1], (0..40).map(value).collect())]);
}

#[test]
fn elements_move() {
    let x = random(&[2, 3, 4], 0);
    let at = |n: usize, c: usize, i: usize| wide(&x)[(n * 3 + c) * 4 + i];
    let one = |op: &str, numbers: &[(&str, &[i64])], attributes: Vec<AttributeProto>| {
        let mut file = File::new(13).input("x", &[2, 3, 4]);
        for (name, values) in numbers {
            file = file.constant(integers(name, values));
        }
        let inputs: Vec<&str> = ["x"].into_iter().chain(numbers.iter().map(|(name, _)| *name)).collect();
        file.node(op, &inputs, &["y"], attributes).outputs(&["y"])
    };
    let check = |file: File, dims: [usize; 3], value: &dyn Fn(usize, usize, usize) -> f64| {
        let [a, b, c] = dims;
        let values = (0..a * b * c).map(|i| value(i / (b * c), i / c % b, i % c)).collect();
        gives(&file, &[("x", &x)], &[(dims.to_vec(), values)]);
    };
    check(one("Transpose", &[], vec![ints("perm", &[2, 0, 1])]), [4, 2, 3], &|i, n, c| at(n, c, i));
    check(one("Slice", &[("s", &[1, -3]), ("e", &[i64::MAX, 4]), ("a", &[1, 2])], vec![]), [2, 2, 3], &|n, c, i| {
        at(n, c + 1, i + 1)
    });
    let steps = [("s", &[0][..]), ("e", &[9]), ("a", &[2]), ("t", &[3])];
    check(one("Slice", &steps, vec![]), [2, 3, 2], &|n, c, i| at(n, c, 3 * i));
    let back = [("s", &[-1, 1][..]), ("e", &[i64::MIN, -9]), ("a", &[2, 1]), ("t", &[-2, -1])];
    check(one("Slice", &back, vec![]), [2, 2, 2], &|n, c, i| at(n, 1 - c, 3 - 2 * i));
    check(one("Gather", &[("i", &[2, 0, -1])], vec![int("axis", 1)]), [2, 3, 4], &|n, c, i| at(n, [2, 0, 2][c], i));
    check(one("Gather", &[("i", &[1, 2])], vec![int("axis", 2)]), [2, 3, 2], &|n, c, i| at(n, c, i + 1));
    let pads = [("p", &[0, 1, 0, 1, 0, 2][..])];
    check(one("Pad", &pads, vec![]), [3, 4, 6], &|n, c, i| {
        if n > 1 || c == 0 || i > 3 { 0.0 } else { at(n, c - 1, i) }
    });
    check(one("Pad", &[("p", &[0, -1, 1, 0, 0, -2])], vec![]), [2, 2, 3], &|n, c, i| {
        if i == 0 { 0.0 } else { at(n, c + 1, i - 1) }
    });
    let filling = Tensor::new([0_usize; 0], vec![2.5]);
    let by_input = File::new(13).input("x", &[2, 3, 4]).input("v", &[]).constant(integers("p", pads[0].1));
    let by_input = by_input.node("Pad", &["x", "p", "v"], &["y"], vec![]).outputs(&["y"]);
    let filled = (0..72).map(|i| match (i / 24, i / 6 % 4, i % 6) {
        (2, ..) | (_, 0, _) | (.., 4 | 5) => 2.5,
        (n, c, i) => at(n, c - 1, i),
    });
    gives(&by_input, &[("x", &x), ("v", &filling)], &[(vec![3, 4, 6], filled.collect())]);
    let [mirrored, edges] = ["reflect", "edge"].map(|mode| vec![text("mode", mode)]);
    let around = [("p", &[0, 1, 2, 1, 2, -1][..])];
    check(one("Pad", &around, mirrored), [3, 6, 5], &|n, c, i| {
        at([0, 1, 0][n], [1, 0, 1, 2, 1, 0][c], [2, 1, 0, 1, 2][i])
    });
    check(one("Pad", &around, edges), [3, 6, 5], &|n, c, i| {
        at([0, 1, 1][n], [0, 0, 1, 2, 2, 2][c], [0, 0, 0, 1, 2][i])
    });
    check(one("Pad", &around, vec![text("mode", "wrap")]), [3, 6, 5], &|n, c, i| {
        at(n % 2, [2, 0, 1, 2, 0, 1][c], [1, 2, 0, 1, 2][i])
    });
    let twice_around = one("Pad", &[("p", &[0, 0, 9, 0, 0, 0])], vec![text("mode", "wrap")]);
    check(twice_around, [2, 3, 13], &|n, c, i| at(n, c, (i + 3) % 4));
    let too_wide = one("Pad", &[("p", &[0, 0, 4, 0, 0, 0])], vec![text("mode", "reflect")]);
    contains(&too_wide.refused(&[("x", &[2, 3, 4])]), &["4 elements of padding", "axis of 4"]);
    check(one("Expand", &[("e", &[2, 1, 1])], vec![]), [2, 3, 4], &at);
    check(one("Tile", &[("r", &[1, 2, 3])], vec![]), [2, 6, 12], &|n, c, i| at(n, c % 3, i % 4));
    let short = one("Tile", &[("r", &[1, 2])], vec![]).refused(&[("x", &[2, 3, 4])]);
    contains(&short, &["(Tile)", "2 numbers of copies for 3 axes"]);
    let mean = |n: usize, i: usize| (at(n, 0, i) + at(n, 1, i) + at(n, 2, i)) / 3.0;
    check(one("ReduceMean", &[], vec![ints("axes", &[-2])]), [2, 1, 4], &|n, _, i| mean(n, i));
    let both = one("ReduceMean", &[], vec![ints("axes", &[0, 2]), int("keepdims", 0)]);
    let means = (0..3).map(|c| (0..8).map(|i| at(i / 4, c, i % 4)).sum::<f64>() / 8.0).collect();
    gives(&both, &[("x", &x)], &[(vec![3], means)]);
    let column = |n: usize, i: usize| [0, 1, 2].map(|c| at(n, c, i));
    let sum = |n: usize, _: usize, i: usize| column(n, i).iter().sum();
    check(one("ReduceSum", &[("axes", &[1])], vec![]), [2, 1, 4], &sum);
    let long = File::new(13).input("x", &[2, 65_537]).node("ReduceMean", &["x"], &["y"], vec![ints("axes", &[1])]);
    let refused = long.outputs(&["y"]).refused(&[("x", &[2, 65_537])]);
    contains(&refused, &["(ReduceMean)", "65537 elements are reduced to one, of at most 65536"]);
    let powers = |n: usize, _: usize, i: usize| column(n, i).map(f64::exp).iter().sum::<f64>().ln();
    check(one("ReduceLogSumExp", &[], vec![ints("axes", &[1])]), [2, 1, 4], &powers);
    let largest = |n: usize, _: usize, i: usize| column(n, i).into_iter().fold(f64::NEG_INFINITY, f64::max);
    check(one("ReduceMax", &[], vec![ints("axes", &[1])]), [2, 1, 4], &largest);
    let more = one("Unsqueeze", &[("a", &[0, -1])], vec![]);
    gives(&more, &[("x", &x)], &[(vec![1, 2, 3, 4, 1], wide(&x))]);
    let unknown = one("Pad", &pads, vec![text("mode", "mirror")]).refused(&[("x", &[2, 3, 4])]);
    contains(&unknown, &["mode", "mirror", "reflect"]);
    contains(&one("Transpose", &[], vec![ints("perm", &[0, 0, 1])]).refused(&[("x", &[2, 3, 4])]), &["perm"]);
    contains(&one("QuantizeLinear", &[("s", &[1])], vec![]).refused(&[("x", &[2, 3, 4])]), &["quantised networks"]);
}

/// Sums of powers that are beyond the range of floats have logarithms that are not.
#[test]
fn logarithms_of_sums() {
    let low = f32::NEG_INFINITY;
    let along = || vec![ints("axes", &[1]), int("keepdims", 0)];
    let x = Tensor::new([2, 2], vec![1000.0, 1001.0, low, -200.0]);
    let wanted = vec![1001.0 + (1.0 + (-1.0_f64).exp()).ln(), -200.0];
    gives(&single(13, "ReduceLogSumExp", &[("x", &x)], &[], along()), &[("x", &x)], &[(vec![2], wanted)]);
    let x = Tensor::new([2, 2], vec![low, low, -low, 1.0]);
    for engine in engines() {
        let y = single(13, "ReduceLogSumExp", &[("x", &x)], &[], along()).run(&engine, &[("x", &x)]);
        assert_eq!(y[0].values(), [low, -low], "on {}", engine.describe());
    }
    let x = Tensor::new([2, 2], vec![1.0, 3.0, 0.5, 0.25]);
    let wanted = vec![4.0_f64.ln(), 0.75_f64.ln()];
    gives(&single(13, "ReduceLogSum", &[("x", &x)], &[], along()), &[("x", &x)], &[(vec![2], wanted)]);
}

/// `x.view(x.size(0), -1)`, and sizes by every operator that is computed on the host.
#[test]
fn sizes_are_computed_from_shapes() {
    let x = random(&[2, 3, 4], 0);
    let tensor = |values: &[i64]| {
        let (kind, t) = (Some(AttributeType::Tensor as i32), Some(integers("", values)));
        AttributeProto { name: Some("value".into()), t, r#type: kind, ..AttributeProto::default() }
    };
    let scalar = |name: &str, value: i64| TensorProto { dims: vec![], ..integers(name, &[value]) };
    let file = File::new(13)
        .input("x", &[-1, 3, 4])
        .constant(scalar("0", 0))
        .constant(scalar("1", 1))
        .constant(scalar("7", 7))
        .constant(integers("axis", &[0]))
        .constant(integers("rest", &[-1]))
        .node("Shape", &["x"], &["shape"], vec![])
        .node("Gather", &["shape", "0"], &["n"], vec![])
        .node("Mul", &["n", "7"], &["14"], vec![])
        .node("Sub", &["14", "n"], &["12"], vec![])
        .node("Unsqueeze", &["12", "axis"], &["list"], vec![])
        .node("Cast", &["list"], &["cast"], vec![int("to", DataType::Float as i64)])
        .node("Cast", &["cast"], &["back"], vec![int("to", DataType::Int64 as i64)])
        .node("Concat", &["back", "rest"], &["both"], vec![int("axis", 0)])
        .node("ConstantOfShape", &["axis"], &["none"], vec![tensor(&[1])])
        .node("Concat", &["both", "none"], &["all"], vec![int("axis", 0)])
        .node("Range", &["0", "n", "1"], &["range"], vec![])
        .node("Gather", &["all", "range"], &["picked"], vec![])
        .node("Reshape", &["x", "picked"], &["y"], vec![])
        .outputs(&["y"]);
    gives(&file, &[("x", &x)], &[(vec![12, 2], wide(&x))]);
    let file = File::new(13)
        .input("x", &[2, 3, 4])
        .constant(integers("2", &[2]))
        .constant(integers("rest", &[-1]))
        .node("Tile", &["2", "2"], &["tiled"], vec![])
        .node("Concat", &["tiled", "rest"], &["dims"], vec![int("axis", 0)])
        .node("Reshape", &["x", "dims"], &["y"], vec![])
        .outputs(&["y"]);
    gives(&file, &[("x", &x)], &[(vec![2, 2, 6], wide(&x))]);
}

/// An operator, and when it holds.
type Comparison = (&'static str, fn(f64, f64) -> bool);

/// Comparisons of floats are 1 and 0, and choose between floats.
#[test]
fn comparisons_choose_numbers() {
    let (x, z) = (random(&[2, 3, 4], 0), Tensor::new([4], vec![0.25, -0.5, f32::INFINITY, 0.0]));
    let both = [("x", &x), ("z", &z)];
    let comparisons: [Comparison; 5] = [
        ("Less", |a, b| a < b),
        ("LessOrEqual", |a, b| a <= b),
        ("Greater", |a, b| a > b),
        ("GreaterOrEqual", |a, b| a >= b),
        ("Equal", |a, b| a == b),
    ];
    for (op, of) in comparisons {
        let wanted = (0..24).map(|i| f64::from(u8::from(of(wide(&x)[i], wide(&z)[i % 4])))).collect();
        gives(&single(13, op, &both, &[], vec![]), &both, &[(vec![2, 3, 4], wanted)]);
    }
    // Where x < z and not 2 x < z the number of z, which is infinite in places, is left out where it is not chosen.
    let file = File::new(13)
        .input("x", &[2, 3, 4])
        .input("z", &[4])
        .node("Less", &["x", "z"], &["less"], vec![])
        .node("Add", &["x", "x"], &["twice"], vec![])
        .node("Less", &["twice", "z"], &["far"], vec![])
        .node("Cast", &["far"], &["cast"], vec![int("to", DataType::Bool as i64)])
        .node("Not", &["cast"], &["near"], vec![])
        .node("And", &["less", "near"], &["and"], vec![])
        .node("Or", &["and", "far"], &["or"], vec![])
        .node("Xor", &["or", "far"], &["on"], vec![])
        .node("Where", &["on", "z", "x"], &["y"], vec![])
        .outputs(&["y"]);
    let value = |i: usize| {
        let (x, z) = (wide(&x)[i], wide(&z)[i % 4]);
        if x < z && 2.0 * x >= z { z } else { x }
    };
    gives(&file, &both, &[(vec![2, 3, 4], (0..24).map(value).collect())]);
    let file = File::new(13)
        .input("z", &[4])
        .node("Cast", &["z"], &["on"], vec![int("to", DataType::Bool as i64)])
        .node("Cast", &["on"], &["y"], vec![int("to", DataType::Float as i64)])
        .outputs(&["y"]);
    gives(&file, &[("z", &z)], &[(vec![4], vec![1.0, 1.0, 1.0, 0.0])]);
}

/// Of an If the side that the condition takes is computed, the other need not be computable.
#[test]
fn choices_known_before_the_network_runs() {
    let x = random(&[2, 1, 4], 0);
    let branch = |name: &str, op: &str, attributes: Vec<AttributeProto>| {
        let mut inner = File::new(11).node(op, &["x"], &["inner"], attributes).outputs(&["inner"]);
        let g: Option<GraphProto> = Some(std::mem::take(inner.graph()));
        let kind = Some(AttributeType::Graph as i32);
        AttributeProto { name: Some(name.into()), g, r#type: kind, ..AttributeProto::default() }
    };
    for (extent, dims) in [(1, vec![2, 4]), (2, vec![2, 1, 4])] {
        let branches =
            vec![branch("then_branch", "Squeeze", vec![ints("axes", &[1])]), branch("else_branch", "Identity", vec![])];
        let file = File::new(11)
            .input("x", &[2, 1, 4])
            .constant(integers("1", &[1]))
            .constant(integers("extent", &[extent]))
            .node("Shape", &["x"], &["shape"], vec![])
            .node("Gather", &["shape", "1"], &["second"], vec![])
            .node("Equal", &["second", "extent"], &["on"], vec![])
            .node("If", &["on"], &["y"], branches)
            .outputs(&["y"]);
        gives(&file, &[("x", &x)], &[(dims, wide(&x))]);
    }
}

/// A graph that normalises seven maps over `size` neighbours as `nn.LocalResponseNorm` is exported: padded by a node as
/// `pads` say, or by the pool itself where there are none.
fn response(size: i64, pads: Option<&[i64]>) -> File {
    let own = [size / 2, 0, 0, (size - 1) / 2, 0, 0];
    let pool = vec![
        ints("kernel_shape", &[size, 1, 1]),
        ints("strides", &[1, 1, 1]),
        int("count_include_pad", 1),
        ints("pads", if pads.is_some() { &[0; 6] } else { &own }),
    ];
    let scalar = |name: &str, value: f32| floats(name, &Tensor::new([0_usize; 0], vec![value]));
    let mut file = File::new(17)
        .input("x", &[-1, 7, 3, 2])
        .constant(integers("view", &[0, 1, 7, 3, -1]))
        .constant(integers("back", &[-1, 7, 3, 2]))
        .constant(scalar("alpha", 0.3))
        .constant(scalar("beta", 0.75))
        .constant(scalar("k", 2.0))
        .node("Mul", &["x", "x"], &["squares"], vec![])
        .node("Reshape", &["squares", "view"], &["wide"], vec![]);
    if let Some(pads) = pads {
        file = file.constant(integers("pads", pads));
        file = file.node("Pad", &["wide", "pads"], &["padded"], vec![text("mode", "constant")]);
    }
    file.node("AveragePool", &[if pads.is_some() { "padded" } else { "wide" }], &["means"], pool)
        .node("Reshape", &["means", "back"], &["narrow"], vec![])
        .node("Mul", &["narrow", "alpha"], &["scaled"], vec![])
        .node("Add", &["k", "scaled"], &["sums"], vec![])
        .node("Pow", &["sums", "beta"], &["power"], vec![])
        .node("Div", &["x", "power"], &["y"], vec![])
        .outputs(&["y"])
}

/// What `nn.LocalResponseNorm` becomes is recognised, the pool padded by itself or by a node.
#[test]
fn normalisation_across_maps_is_recognised() {
    let x = random(&[2, 7, 3, 2], 0);
    for (size, own) in [(5, true), (5, false), (4, false)] {
        let pads = [0, 0, size / 2, 0, 0, 0, 0, (size - 1) / 2, 0, 0];
        let file = response(size, (!own).then_some(&pads[..]));
        let value = |n: usize, c: usize, pixel: usize| f64::from(x.values()[(n * 7 + c) * 6 + pixel]);
        let y = (0..84).map(|i| {
            let (n, c, pixel): (usize, usize, usize) = (i / 42, i / 6 % 7, i % 6);
            let near = c.saturating_sub(size as usize / 2)..(c + (size as usize - 1) / 2 + 1).min(7);
            let sum: f64 = near.map(|c| value(n, c, pixel).powi(2)).sum();
            value(n, c, pixel) / (2.0 + f64::from(0.3_f32) / size as f64 * sum).powf(0.75)
        });
        gives(&file, &[("x", &x)], &[(x.shape().to_vec(), y.collect())]);
    }
}

/// Paddings of other axes, of which the sum wraps to 0, are no normalisation.
#[test]
fn padding_without_bounds_is_no_normalisation() {
    let pads = [i64::MAX, 1, 2, 0, 0, i64::MAX, 1, 2, 0, 0];
    let refused = response(5, Some(&pads)).refused(&[("x", &[2, 7, 3, 2])]);
    contains(&refused, &["(Pad)", "9223372036854775807 and 9223372036854775807 elements around 2"]);
}
