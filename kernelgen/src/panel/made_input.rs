//! What the code for an input form makes of rows, in the simulator; for the tests of families that have one.

use craftsman_isa::recorded;

use crate::config::KernelConfig;
use crate::kernel::emit;
use crate::key::KernelKey;
use crate::verify::{Buffer, runner};
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
    let caps = recorded::by_name(machine).unwrap();
    let code = emit(key, &config, &caps).unwrap().input.unwrap();
    let length = family.input(key, &config).bytes(tokens);
    let mut buffers =
        [Buffer::read(Field::Source, rows.to_vec()), Buffer::write(Field::Activations, vec![0xA5; length])];
    let mut machine = runner(&caps).unwrap();
    machine.call(&code, &mut buffers, &[(Field::Tokens, tokens)]).unwrap();
    let [_, made] = buffers;
    made.bytes
}
