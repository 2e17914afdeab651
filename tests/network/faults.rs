//! Devices that fail while several run one network: the run ends with an error that says where and when and what to
//! try, nothing hangs, what was saved is intact, and what did not fail can be used again.

use std::rc::Rc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use alexnet::backend::{BackendError, Placement};
use alexnet::checkpoint::Checkpoint;
use alexnet::data::Batch;
use alexnet::net::{Job, Net};
use alexnet::session::{Rates, Session, SessionError};
use alexnet::train::TrainError;

use crate::devices::{open, spec};
use crate::runs::{At, BATCH, STEPS, batch, device, session, tiny, train};
use crate::training::{Run, assert_same, assert_trained, train_as};
use crate::trap::{Fault, OPERATIONS, Operation, Trap, within};

/// Longer than any of this takes, shorter than a device may take to answer.
const BOUND: Duration = Duration::from_secs(60);

/// Towers of the members of a placement of two.
const TOWERS: [&str; 2] = ["a", "b"];

/// Placements of two devices on this machine.
fn pairs() -> Vec<String> {
    ["cpu,cpu", "gpu,gpu", "gpu,cpu"].into_iter().filter_map(spec).collect()
}

/// The first steps of a run in which nothing fails.
fn healthy(placement: &Placement) -> Run {
    train_as(&Job::training(BATCH), placement, &tiny(), 5)
}

/// Checks that it was `member` which failed, as `fault` wants it, and that this is said.
#[track_caller]
fn is_of(member: usize, device: &str, out_of_memory: bool, error: &SessionError) {
    let SessionError::Backend(BackendError::Member { towers, error: inner }) = error else { panic!("{error}") };
    assert_eq!(towers, TOWERS[member], "{error}");
    let kind = match **inner {
        BackendError::OutOfMemory { .. } => out_of_memory,
        BackendError::Lost { .. } => !out_of_memory,
        _ => false,
    };
    assert!(kind, "{error}");
    let message = error.to_string();
    for part in [&format!("tower {}: ", TOWERS[member]), device, "what was saved before is intact"] {
        assert!(message.contains(part), "no {part:?} in: {message}");
    }
}

/// Trains until `act`, called three steps into the second epoch, has led to an error of `member` after step `after`.
#[track_caller]
fn stopped(placement: &Placement, act: impl FnMut(), (member, device, out_of_memory): (usize, &str, bool), after: u64) {
    let folder = tempfile::tempdir().unwrap();
    let mut observer = At { step: STEPS + 3, act };
    let error = train(placement, folder.path(), &AtomicBool::new(false), &mut observer).unwrap_err();
    let message = error.to_string();
    let TrainError::Stopped { step, error, advice } = error else { panic!("{message}") };
    let advice = advice.to_string();
    is_of(member, device, out_of_memory, &error);
    assert_eq!(step, after, "{message}");
    // 104 images were computed at once.
    assert!(advice.contains("try --micro-batch 48"), "{message}");
    for part in [&format!("after step {after}: "), &error.to_string(), &advice] {
        assert!(message.contains(part), "no {part:?} in: {message}");
    }
    let kept = Checkpoint::read(&folder.path().join("last.safetensors")).unwrap();
    assert_eq!((kept.state.step, kept.state.epoch), (STEPS, 1));
    session(&open("cpu")).unwrap().load(&kept.tensors).unwrap();
}

#[test]
fn a_run_of_which_a_device_fails_says_which_and_when_and_the_devices_can_be_used_again() {
    for spec in pairs() {
        let again = spec.clone();
        let want = within(BOUND, move || healthy(&open(&again)));
        assert_trained(&spec, &want);
        for (number, (operation, member)) in
            OPERATIONS.into_iter().flat_map(|operation| [(operation, 0), (operation, 1)]).enumerate()
        {
            let fault = Fault { member, operation, after: number % 3, out_of_memory: number % 4 < 2 };
            // Only a checkpoint reads.
            let after = if operation == Operation::Read { 2 * STEPS } else { STEPS + 3 };
            let again = spec.clone();
            let got = within(BOUND, move || {
                let (placement, trap) = (open(&again), Rc::new(Trap::default()));
                let device = placement.engines()[member].describe();
                let trapped = trap.hide_in(placement.clone());
                stopped(&trapped, || trap.set(fault), (member, &device, fault.out_of_memory), after);
                healthy(&placement)
            });
            assert_same(&format!("{spec} after {fault:?}"), &got, &want);
        }
    }
}

#[test]
fn a_device_that_is_lost_leaves_the_other_one_to_work_with() {
    let Some(spec) = spec("gpu,gpu") else { return };
    let (got, want) = within(BOUND, move || {
        let placement = open(&spec);
        let [a, b] = placement.engines() else { unreachable!("{spec}") };
        let second = device(b);
        stopped(&placement, || second.raw.destroy(), (1, &second.info.name, false), STEPS + 3);
        let error = session(&placement).err().expect("it has a lost device");
        is_of(1, &second.info.name, false, &error);
        (healthy(&a.clone().into()), healthy(&open(&spec)))
    });
    assert_trained("device a", &got);
    assert_same("device a", &got, &want);
}

/// A minibatch in two parts.
const SMALL: Job = Job::training(16).at_once(8);

/// A session that has done what is done once.
fn prepared(placement: &Placement) -> Session {
    let mut session = Session::new(Net::new(tiny()).unwrap(), &SMALL, placement, 0).unwrap();
    session.set_mean(&[100.0; 300]).unwrap();
    session
        .set_rates(Rates { weights: 0.01, biases: 0.02, hyper: [("momentum", 0.9)].into(), ..Rates::default() })
        .unwrap();
    session
}

/// Losses before and after a step from initial weights.
fn step(session: &mut Session, batch: &Batch) -> Result<[f64; 2], SessionError> {
    session.initialise()?;
    session.gradients(batch, 0)?;
    session.update()?;
    let before = session.score()?.loss;
    session.evaluate(batch)?;
    Ok([before, session.score()?.loss])
}

/// Every call of a step fails once. What was fetched by then and never taken, or filled in and never sent, must not
/// get in the way of the next step.
#[test]
fn after_a_fault_anywhere_in_a_step_the_same_session_goes_on() {
    for spec in pairs() {
        within(BOUND, move || {
            let (trap, batch) = (Rc::new(Trap::default()), batch(&tiny(), SMALL.minibatch));
            let mut session = prepared(&trap.hide_in(open(&spec)));
            let want = step(&mut session, &batch).unwrap();
            assert!(want[1] < want[0], "{spec}: nothing was learnt: {want:?}");
            for (member, operation) in
                [0, 1].into_iter().flat_map(|member| OPERATIONS.map(|operation| (member, operation)))
            {
                let mut faults = 0;
                loop {
                    let fault = Fault { member, operation, after: faults, out_of_memory: false };
                    trap.set(fault);
                    let got = step(&mut session, &batch);
                    if trap.unset() {
                        assert_eq!(got.unwrap(), want, "{spec} without {fault:?}");
                        break;
                    }
                    let device = session.cluster().devices()[member].1.clone();
                    is_of(member, &device, false, &got.unwrap_err());
                    assert_eq!(step(&mut session, &batch).unwrap(), want, "{spec} after {fault:?}");
                    faults += 1;
                }
                println!("{spec}: {faults} times {operation:?} on {}", TOWERS[member]);
                assert_eq!(faults == 0, operation == Operation::Read, "{spec}: {faults} times {operation:?}");
            }
        });
    }
}

/// Not even of the part of a minibatch that was computed.
#[test]
fn a_minibatch_in_which_a_device_fails_has_no_score() {
    let (trap, batch) = (Rc::new(Trap::default()), batch(&tiny(), SMALL.minibatch));
    let mut session = prepared(&trap.hide_in(open("cpu,cpu")));
    session.initialise().unwrap();
    for after in 0.. {
        trap.set(Fault { member: 0, operation: Operation::Take, after, out_of_memory: false });
        let computed = session.gradients(&batch, 0);
        let score = session.score();
        if trap.unset() {
            assert!(score.unwrap().images == SMALL.minibatch && after > 6, "three of each half, and maps: {after}");
            break;
        }
        assert!(matches!(score, Err(SessionError::Unscored)) == computed.is_err() && score.is_err(), "take {after}");
        assert!(matches!(session.score(), Err(SessionError::Unscored)), "take {after}");
    }
}

#[test]
fn what_was_fetched_and_never_taken_is_fetched_anew() {
    for spec in pairs() {
        within(BOUND, move || {
            let mut session = prepared(&open(&spec));
            session.initialise().unwrap();
            let (one, other) = (batch(&tiny(), SMALL.minibatch), batch(&tiny(), 3));
            let mut loss = |batch: &Batch| {
                session.evaluate(batch).unwrap();
                session.score().unwrap().loss
            };
            let want = [loss(&one), loss(&other)];
            assert_ne!(want[0], want[1]);
            for batch in [&one, &one, &other] {
                session.evaluate(batch).unwrap();
            }
            assert_eq!(session.score().unwrap().loss, want[1], "{spec}");
        });
    }
}
