use std::thread;
use std::time::Instant;

use super::*;

/// What `act` gives on every one of `count` ranks.
fn on_all<T: Send>(count: usize, act: impl Fn(&Ranks) -> T + Sync) -> Vec<T> {
    let ranks = Ranks::threads(count, None).unwrap();
    thread::scope(|scope| {
        let act = &act;
        let running: Vec<_> = ranks.into_iter().map(|ranks| scope.spawn(move || act(&ranks))).collect();
        running.into_iter().map(|rank| rank.join().unwrap()).collect()
    })
}

fn summed(ranks: &Ranks, values: Vec<f32>, format: Format) -> Result<Vec<f32>, RanksError> {
    ranks.exchange(Exchange::Sum, values, format)?.wait()
}

/// Numbers of a rank, of all sizes.
fn numbers(rank: usize, count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7 + rank * 13) % 29) as f32 * 10_f32.powi((i % 9) as i32 - 6) - 0.3).collect()
}

#[test]
fn sums_are_the_same_bits_on_every_rank_and_in_every_run() {
    for size in 1..=6 {
        for count in [0, 1, 2, 5, 64, 1001] {
            let sums = || on_all(size, |r| summed(r, numbers(r.rank(), count), Format::Floats).unwrap());
            let first = sums();
            let bits = |sums: &[Vec<f32>]| -> Vec<Vec<u32>> {
                sums.iter().map(|sum| sum.iter().map(|v| v.to_bits()).collect()).collect()
            };
            assert!(bits(&first).windows(2).all(|pair| pair[0] == pair[1]) && bits(&first) == bits(&sums()));
            for (i, &sum) in first[0].iter().enumerate() {
                let wanted: f64 = (0..size).map(|rank| f64::from(numbers(rank, count)[i])).sum();
                assert!((f64::from(sum) - wanted).abs() <= 1e-6 * wanted.abs().max(1.0), "{sum} for {wanted}");
            }
        }
    }
}

#[test]
fn halves_are_near_on_every_rank_alike_and_keep_what_is_not_finite() {
    for size in [2, 3, 5] {
        let sums = on_all(size, |r| {
            let mut numbers: Vec<f32> = (0..500).map(|i| 1e-6 * ((i + r.rank()) as f32).sin()).collect();
            numbers[7] = if r.rank() == 1 { f32::INFINITY } else { 1.0 };
            numbers[400] = if r.rank() == 0 { f32::NAN } else { 1.0 };
            summed(r, numbers, Format::Halves).unwrap()
        });
        let bits = |sum: &Vec<f32>| sum.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert!(sums.iter().all(|sum| bits(sum) == bits(&sums[0])));
        assert!(sums[0][7] == f32::INFINITY && sums[0][400].is_nan());
    }
    let [sum, _] = &on_all(2, |r| {
        let small = (0..500).map(|i| 1e-6 * ((i + r.rank()) as f32).sin()).collect();
        summed(r, small, Format::Halves).unwrap()
    })[..] else {
        panic!("two ranks")
    };
    for (i, sum) in sum.iter().enumerate() {
        let wanted = 1e-6 * ((i as f32).sin() + ((i + 1) as f32).sin());
        assert!((sum - wanted).abs() < 2e-9, "11 bits of numbers up to 2e-6: {sum} for {wanted}");
    }
}

#[test]
fn bytes_are_those_that_the_ring_is_said_to_send() {
    for size in [1, 2, 3, 4, 7] {
        for (count, format) in
            [(1000, Format::Floats), (1000, Format::Halves), (3, Format::Floats), (2, Format::Halves)]
        {
            let sent = on_all(size, |r| {
                r.broadcast(Vec::new()).unwrap(); // names are known then
                let before = r.sent();
                summed(r, vec![1.0; count], format).unwrap();
                r.sent() - before
            });
            assert_eq!(
                sent.iter().sum::<u64>(),
                Exchange::Sum.bytes(count as u64, size as u64, format),
                "{size} {count}"
            );
        }
    }
    assert_eq!(Exchange::Sum.bytes(60_965_224, 4, Format::Floats), 4 * 60_965_224 * 2 * 3);
}

/// Rows of unequal shares, sums, and one rank's numbers, more than one message of them.
#[test]
fn numbers_are_scattered_gathered_and_passed_on() {
    let rows = Rows { count: 7, numbers: 3 };
    for (size, format) in [(1, Format::Floats), (2, Format::Floats), (3, Format::Halves), (5, Format::Floats)] {
        // Small whole numbers, which halves hold.
        let value = |rank: usize, i: usize| (rank * 5 + i % 11) as f32;
        let all = |rank: usize, count: usize| (0..count).map(|i| value(rank, i)).collect::<Vec<_>>();
        let sums = |count: usize| (0..count).map(|i| (0..size).map(|rank| value(rank, i)).sum()).collect::<Vec<f32>>();
        let own = |rank: usize| 3 * (7 * rank / size)..3 * (7 * (rank + 1) / size);
        let long = 100_000;
        let sent = on_all(size, |r| {
            let (rank, last) = (r.rank(), size - 1);
            let mut sent = vec![r.broadcast(Vec::new()).map(|_| r.sent()).unwrap()];
            let mut exchange = |exchange, values| {
                let came = r.exchange(exchange, values, format).unwrap().wait().unwrap();
                sent.push(r.sent());
                came
            };
            assert_eq!(exchange(Exchange::Scatter(rows), all(rank, 21)), sums(21)[own(rank)]);
            assert_eq!(exchange(Exchange::Gather(rows), all(0, 21)[own(rank)].to_vec()), all(0, 21));
            let given = if rank == last { all(rank, long) } else { Vec::new() };
            assert_eq!(exchange(Exchange::Broadcast { from: last, count: long }, given), all(last, long));
            let came = exchange(Exchange::Reduce { to: last }, all(rank, long));
            assert_eq!(came, if rank == last { sums(long) } else { Vec::new() });
            sent
        });
        let exchanges = [
            (Exchange::Scatter(rows), 21),
            (Exchange::Gather(rows), 21),
            (Exchange::Broadcast { from: size - 1, count: long }, long),
            (Exchange::Reduce { to: size - 1 }, long),
        ];
        for (i, (exchange, count)) in exchanges.into_iter().enumerate() {
            let found: u64 = sent.iter().map(|sent| sent[i + 1] - sent[i]).sum();
            assert_eq!(found, exchange.bytes(count as u64, size as u64, format), "{exchange:?} of {size}");
        }
    }
}

#[test]
fn every_rank_hears_of_every_other_and_of_the_first() {
    for size in 1..=9 {
        let wanted: Vec<Vec<u8>> = (0..size).map(|rank| vec![rank as u8; 3 * rank]).collect();
        let found = on_all(size, |r| r.gather(vec![r.rank() as u8; 3 * r.rank()]).unwrap());
        assert!(found.iter().all(|found| *found == wanted), "{size}: {found:?}");
        let told = on_all(size, |r| r.broadcast(vec![r.rank() as u8 + 5; 100]).unwrap());
        assert!(told.iter().all(|told| *told == [5; 100]), "{size}");
    }
}

#[test]
fn a_rank_that_fails_is_named_to_all_of_them_soon() {
    let begin = Instant::now();
    let errors = on_all(4, |r| {
        if r.rank() == 2 {
            r.fail("the disk is away");
        }
        r.gather(Vec::new()).map_or_else(|error| error.to_string(), |_| String::new())
    });
    for error in errors {
        assert!(error.contains("rank 2 on thread 2") && error.contains("the disk is away"), "{error}");
    }
    assert!(begin.elapsed().as_secs() < 20);
}

#[test]
fn ranks_of_different_networks_are_refused() {
    let errors = on_all(2, |r| summed(r, vec![0.0; 4 + r.rank()], Format::Floats).map_err(|e| e.to_string()));
    assert!(errors.iter().any(|error| error.as_ref().is_err_and(|e| e.contains("same network"))), "{errors:?}");
}

#[test]
fn a_network_is_bits_a_second_and_a_time() {
    let network: Network = "10Gbit/s,20us".parse().unwrap();
    assert_eq!((network.bandwidth, network.latency.as_micros()), (1.25e9, 20));
    assert_eq!(network.time(1_250_000).as_micros(), 1020);
    assert_eq!("800 Mbit/s, 1ms".parse::<Network>().unwrap().bandwidth, 1e8);
    for wrong in ["", "10", "10Gbit/s", "10Gbit/s,", "Gbit/s,1us", "10GB/s,1us", "0Gbit/s,1us", "10Gbit/s,2h"] {
        assert!(wrong.parse::<Network>().is_err(), "{wrong}");
    }
}

/// Two ranks exchange 10,000 bytes each way in four messages of 25 ms and a latency each.
#[test]
fn a_slow_wire_is_slow() {
    let ranks = Ranks::threads(2, Some("1600kbit/s,1ms".parse().unwrap())).unwrap();
    thread::scope(|scope| {
        for ranks in ranks {
            scope.spawn(move || {
                ranks.gather(Vec::new()).unwrap();
                let begin = Instant::now();
                summed(&ranks, vec![1.0; 2500], Format::Floats).unwrap();
                assert!(begin.elapsed().as_millis() >= 52, "{:?}", begin.elapsed());
            });
        }
    });
}
