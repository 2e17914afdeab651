//! A small program over four towers, for unit tests of what several devices do with it.

use crate::kernel::Elem;
use crate::ops::{binary, half};
use crate::program::{Home, Pass, Phase, Program, Recorder, Role, Slot, SlotInfo, Tower, Wire, letter};

/// Elements of every slot of [`meeting`].
pub(super) const COUNT: usize = 64;

/// The program of [`meeting`], and its slots by tower.
pub(super) struct Meeting {
    pub(super) program: Program,
    pub(super) inputs: Vec<Slot>,
    pub(super) outputs: Vec<Slot>,
}

/// Every tower doubles its input x. Towers b to d then double that again and add what tower a made; tower a adds what
/// tower d made. Outputs: 2 (x_a + x_d) on tower a, 4 x + 2 x_a on the others.
pub(super) fn meeting(packed: bool) -> Meeting {
    let mut recorder = Recorder::new();
    let slot = |recorder: &mut Recorder, name: &str, tower: Tower, role| {
        let (name, shape, home) = (format!("{name}.{}", letter(tower)), vec![COUNT], Home::Tower(tower));
        recorder.slot(SlotInfo { name, shape, elem: Elem::F32, home, role })
    };
    let towers = || 0..4;
    let inputs: Vec<_> = towers().map(|tower| slot(&mut recorder, "input", tower, Role::Weight)).collect();
    let doubled: Vec<_> = towers().map(|tower| slot(&mut recorder, "double", tower, Role::Map)).collect();
    let again: Vec<_> = towers().map(|tower| slot(&mut recorder, "again", tower, Role::Map)).collect();
    let outputs: Vec<_> = towers().map(|tower| slot(&mut recorder, "output", tower, Role::Output)).collect();
    recorder.begin(Pass::Evaluate);
    recorder.label("meeting", Phase::Forward);
    let label = recorder.current_label();
    let params = half::Shape { count: COUNT, scale: 1.0 }.params();
    let wire = packed.then_some(Wire { pack: &half::PACK, unpack: &half::UNPACK, params, label });
    let add = |recorder: &mut Recorder, a, b, y| recorder.run(&binary::FORWARD, binary::Shape::sum(COUNT), &[a, b, y]);
    for tower in towers() {
        add(&mut recorder, inputs[tower], inputs[tower], doubled[tower]);
    }
    let copies: Vec<_> = towers().map(|tower| recorder.copy(doubled[0], tower, wire.clone())).collect();
    for tower in 1..4 {
        add(&mut recorder, doubled[tower], doubled[tower], again[tower]);
    }
    for tower in 1..4 {
        add(&mut recorder, again[tower], copies[tower], outputs[tower]);
    }
    let last = recorder.copy(doubled[3], 0, wire);
    add(&mut recorder, doubled[0], last, outputs[0]);
    Meeting { program: recorder.finish(), inputs, outputs }
}
