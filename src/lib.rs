//! AlexNet as it was built in 2012, one network over two towers, on any GPU that wgpu reaches.
//!
//! A model file becomes a graph of layers ([`net`]), a file of another program one of operators ([`graph`]), either
//! of them a flat [`program`] of kernel runs and copies over named slots, and a [`backend`] replays that every step: on a
//! GPU by WGSL, or on the processor by the kernels' CPU twins.
//! Each kernel is declared once ([`kernel`], [`ops`]); validation, parity, listings and tests are loops over the
//! declarations. [`session`] is the one place where a network meets its devices.
//!
//! Modules are listed in the order of their dependencies, which a test keeps:
//!
//! ```text
//! main → cli → commands, eval, train ─┬→ session ─┬→ net, graph → ops → program → kernel → tensor, random
//!                                       │           ├→ backend → program           (backend/gpu also → wgsl → kernel)
//!                                       │           └→ data → files → tensor, random         (backend/gpu also → files)
//!                                       └→ checkpoint, interop → net, graph, files, tensor
//! ```
//!
//! Vocabulary: a *tower* (A, B, …) is a part of the network that works mostly on its own maps; a *device* is an opened
//! adapter with its queue; a *kernel* is a GPU entry point with its *twin* on the CPU, a *variant* a way to compute it,
//! a *case* a set of shapes to compare them on; a *filter* is what the paper calls a kernel; a *slot* is a named buffer
//! of a program. Letters are cuDNN's: C·H·W maps, K filters, P·Q outputs, R×S windows, N images, innermost everywhere;
//! x, w, b, y are inputs, weights, bias and outputs, dx, dw, db, dy their gradients, v the last increment.

pub mod random;
pub mod tensor;
pub mod files;
pub mod kernel;
pub mod program;
pub mod wgsl;
pub mod ops;
pub mod net;
pub mod graph;
pub mod interop;
pub mod backend;
pub mod data;
pub mod checkpoint;
pub mod session;
pub mod train;
pub mod eval;
pub mod commands;
