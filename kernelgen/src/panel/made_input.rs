//! What the code for an input form makes of rows, in the simulator; for the tests of families that have one.

use craftsman_isa::recorded;

use crate::config::KernelConfig;
use crate::kernel::emit;
use crate::key::KernelKey;
use crate::simulate::{Access, Machine};
use crate::vocabulary::{Arguments, Field};

/// The addresses of the code, its arguments, the rows, what is made of them, and the work space.
const PLACES: [u64; 5] = [1 << 32, 2 << 32, 3 << 32, 4 << 32, 5 << 32];

/// What `config`'s code on `machine` makes of the quantised `rows` of `tokens` tokens.
pub(crate) fn made_input(
    key: &KernelKey,
    config: &str,
    machine: &str,
    rows: &[u8],
    tokens: usize,
) -> Vec<u8> {
    let [code_at, arguments_at, rows_at, made_at, scratch_at] = PLACES;
    let config: KernelConfig = config.parse().unwrap();
    let (_, family) = config.parts().unwrap();
    let code = emit(key, &config, &recorded::by_name(machine).unwrap()).unwrap().input.unwrap();
    let mut arguments = vec![0; size_of::<Arguments>()];
    let values = [
        (Field::Source, rows_at),
        (Field::Activations, made_at),
        (Field::Scratch, scratch_at),
        (Field::Tokens, tokens as u64),
    ];
    for (field, value) in values {
        arguments[field.offset() as usize..][..8].copy_from_slice(&value.to_ne_bytes());
    }
    let length = family.input(key, &config).bytes(tokens);
    let mut machine = Machine::new();
    let buffers = [
        (arguments_at, arguments, Access::ReadWrite),
        (rows_at, rows.to_vec(), Access::Read),
        (made_at, vec![0xA5; length], Access::ReadWrite),
        (scratch_at, vec![0xA5; code.scratch], Access::ReadWrite),
    ];
    for (address, bytes, access) in buffers {
        machine.map(address, bytes, access).unwrap();
    }
    machine.run(&code.bytes, code_at, &[arguments_at]).unwrap();
    machine.bytes(made_at).unwrap().to_vec()
}
