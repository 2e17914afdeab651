//! A two-tower network learns one batch by heart: model, batch, steps, loss.
//!
//! `cargo run --release --example overfit [DEVICES]`, for example `cpu`, `0` or `0,0`; without it the best adapter.

use alexnet::data::{Dataset, Loader, LoaderOptions, Views};
use alexnet::net::{Job, Model, Net, Replacement};
use alexnet::session::{Rates, Session, open_devices};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut model = Model::open("mini")?;
    "dropout=none".parse::<Replacement>()?.apply(&mut model)?;
    let dataset = Dataset::open(None, model.input.stored())?; // the bundled sample of CIFAR-10
    let views = Views::Centre { border2: model.input.border2() };
    let options = LoaderOptions { order: (0..64).collect(), start: 0, capacity: 64, views, threads: 1 };
    let batch = Loader::new(&dataset.train, options)?.next().ok_or("no image could be decoded")??;

    let devices = open_devices(std::env::args().nth(1).as_deref())?;
    let mut session = Session::new(Net::new(model)?, &Job::training(64), &devices, 1)?;
    session.initialise()?;
    session.set_mean(&dataset.statistics()?.mean)?;
    session.set_rates(Rates { weights: 0.01, biases: 0.02, hyper: [("momentum", 0.9)].into(), ..Rates::default() })?;
    for step in 0..=40 {
        session.gradients(&batch, step)?;
        println!("step {step:2}: loss {:.4}", session.score()?.means().0);
        session.update()?;
    }
    Ok(())
}
