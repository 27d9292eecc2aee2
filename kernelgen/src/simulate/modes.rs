//! Modes of the processor that a function must leave as it found them: MXCSR and the direction flag.

use super::core::Core;
use super::fault::FaultKind;
use super::operation::Row;
use iced_x86::{Instruction, Mnemonic as M};

type Done = Result<(), FaultKind>;

#[rustfmt::skip]
pub(super) const TABLE: &[Row] = &[
    (&[M::Ldmxcsr, M::Vldmxcsr], load),
    (&[M::Stmxcsr, M::Vstmxcsr], |core, i| core.set_integer(i, 0, core.modes.mxcsr.into())),
    (&[M::Cld], |core, _| { core.modes.backwards = false; Ok(()) }),
    (&[M::Std], |core, _| { core.modes.backwards = true; Ok(()) }),
];

/// Bits of MXCSR that say what has happened rather than what shall; nobody preserves them and the simulator does not
/// set them.
const STATUS: u32 = 0x3f;
/// Bits that no processor has.
const RESERVED: u32 = 0xffff_0000;

/// MXCSR and DF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Modes {
    mxcsr: u32,
    backwards: bool,
}

impl Default for Modes {
    /// As a process begins: every exception masked, round to nearest, no flushing, and forwards.
    fn default() -> Self {
        Self { mxcsr: 0x1f80, backwards: false }
    }
}

impl Modes {
    /// Whether floats are computed as usual, which is all that the simulator computes.
    pub(super) fn usual_floats(self) -> bool {
        self.mxcsr & !STATUS == Self::default().mxcsr
    }

    /// The name of what differs from how a function found it.
    pub(super) fn changed(self) -> Option<&'static str> {
        match () {
            () if !self.usual_floats() => Some("mxcsr"),
            () if self.backwards => Some("df"),
            () => None,
        }
    }
}

fn load(core: &mut Core, instruction: &Instruction) -> Done {
    let value = core.integer(instruction, 0)? as u32;
    if value & RESERVED != 0 {
        return Err(FaultKind::ReservedMode);
    }
    core.modes.mxcsr = value;
    Ok(())
}
