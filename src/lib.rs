//! AlexNet as it was built in 2012, one network over two towers, on any GPU that wgpu reaches.
//!
//! ```no_run
//! use alexnet::{Job, Model, Net, Placement, Session};
//!
//! # fn step(batch: &alexnet::data::Batch) -> Result<(), Box<dyn std::error::Error>> {
//! let model = Model::open("alexnet")?; // two towers, as in 2012; or a model file of your own
//! let devices = Placement::open(Some("0,1"))?.ok_or("no adapter")?; // a GPU for each
//! let mut session = Session::new(Net::new(model)?, &Job::training(128), &devices, 1)?;
//! session.initialise()?;
//! session.gradients(batch, 0)?; // of 128 labelled images
//! session.update()?;
//! println!("loss {}", session.score()?.means().0);
//! # Ok(())
//! # }
//! ```
//!
//! [`train::Launch`] is the whole of a training run, [`eval::Evaluator`] classifies and scores; `examples/` has a batch
//! learnt by heart, a classifier, and a layer of one's own.
//!
//! A model file becomes a graph of layers ([`net`]), a file of another program one of operators ([`graph`]), either
//! of them a flat [`program`] of kernel runs and copies over named slots, and a [`backend`] replays that every step: on
//! a GPU by WGSL, or on the processor by the kernels' CPU twins. Each kernel is declared once ([`kernel`], [`ops`]), as
//! is each kind of layer; validation, parity, listings and tests are loops over the declarations. [`session`] is the
//! one place where a network meets its devices.
//!
//! Modules are listed in the order of their dependencies, which a test keeps:
//!
//! ```text
//! main → cli → report → commands, eval, runs, train ─┬→ session ─┬→ net, graph → ops → program → kernel → tensor
//!                                                    │           ├→ backend → program (backend/gpu also → wgsl, files)
//!                                                    │           └→ data → files → tensor, random
//!                                                    └→ checkpoint, interop → net, graph, files, tensor
//! ```
//!
//! Vocabulary: a *tower* (A, B, …) is a part of the network that works mostly on its own maps; a *device* is an opened
//! adapter with its queue; a *kernel* is a GPU entry point with its *twin* on the CPU, a *variant* a way to compute it,
//! a *case* a set of shapes to compare them on; a *filter* is what the paper calls a kernel; a *slot* is a named buffer
//! of a program. Letters are cuDNN's: C·H·W maps, K filters, P·Q outputs, R×S windows, N images, innermost everywhere;
//! x, w, b, y are inputs, weights, bias and outputs, dx, dw, db, dy their gradients, v the last increment.

#[doc(hidden)] // Hidden rooms are for the program beside this library and its tests; they promise nothing to others.
pub mod random;
pub mod tensor;
#[doc(hidden)]
pub mod files;
pub mod kernel;
pub mod program;
#[doc(hidden)]
pub mod wgsl;
pub mod ops;
pub mod net;
#[doc(hidden)]
pub mod graph;
#[doc(hidden)]
pub mod interop;
pub mod backend;
pub mod data;
#[doc(hidden)]
pub mod checkpoint;
pub mod ranks;
pub mod session;
pub mod train;
#[doc(hidden)]
pub mod runs;
pub mod eval;
#[doc(hidden)]
pub mod commands;
#[doc(hidden)]
pub mod report;

pub use backend::Placement;
pub use data::{Dataset, Loader};
pub use net::{Job, Model, Net, Options};
pub use session::Session;
