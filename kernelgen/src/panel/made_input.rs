//! What the code for an input form makes of rows, in the simulator; for the tests of families that have one.

use craftsman_isa::recorded;

use crate::config::KernelConfig;
use crate::kernel::emit;
use crate::key::KernelKey;
use crate::simulate::Access;
use crate::verify::{address, call};
use crate::vocabulary::Field;

/// What `config`'s code on `machine` makes of the quantised `rows` of `tokens` tokens.
pub(crate) fn made_input(
    key: &KernelKey,
    config: &str,
    machine: &str,
    rows: &[u8],
    tokens: usize,
) -> Vec<u8> {
    let config: KernelConfig = config.parse().unwrap();
    let (_, family) = config.parts().unwrap();
    let code = emit(key, &config, &recorded::by_name(machine).unwrap()).unwrap().input.unwrap();
    let length = family.input(key, &config).bytes(tokens);
    let buffers = vec![
        (Field::Source, rows.to_vec(), Access::Read),
        (Field::Activations, vec![0xA5; length], Access::ReadWrite),
    ];
    let (machine, _) = call(&code, buffers, &[(Field::Tokens, tokens)]).unwrap();
    machine.bytes(address(Field::Activations)).unwrap().to_vec()
}
