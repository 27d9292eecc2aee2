//! The emulated program as it runs: records in, answers out.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::start::{RECORD, Record};

/// Records that are sent at once: what a pipe takes without being read.
const AT_ONCE: usize = 4096 / RECORD;

/// See the module's introduction.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    /// Closed when the program is to end.
    input: Option<ChildStdin>,
    output: ChildStdout,
}

impl Process {
    /// Writes `program` to `path` and has `emulator` run it as on `processor`.
    pub(super) fn start(
        emulator: &str,
        processor: &str,
        path: &Path,
        program: &[u8],
    ) -> std::io::Result<Self> {
        std::fs::write(path, program)?;
        allow_execution(path)?;
        let mut command = Command::new(emulator);
        command.args(["-cpu", processor]).arg(path);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let missing = || std::io::Error::other("a pipe is missing");
        let input = Some(child.stdin.take().ok_or_else(missing)?);
        let output = child.stdout.take().ok_or_else(missing)?;
        Ok(Self { child, input, output })
    }

    /// The answers to `records`.
    pub(super) fn ask(&mut self, records: &[Record]) -> Result<Vec<u64>, String> {
        let mut answers = Vec::new();
        for records in records.chunks(AT_ONCE) {
            let bytes: Vec<u8> = records.iter().flatten().flat_map(|word| word.to_le_bytes()).collect();
            let mut answer = vec![0; 8 * records.len()];
            let asked = self.input.as_mut().map(|input| input.write_all(&bytes));
            let answered = asked.map(|asked| asked.and_then(|()| self.output.read_exact(&mut answer)));
            if !matches!(answered, Some(Ok(()))) {
                return Err("the program ended".to_owned());
            }
            answers.extend(answer.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)));
        }
        Ok(answers)
    }

    /// Ends it; says how it ended.
    pub(super) fn end(&mut self) -> String {
        drop(self.input.take());
        let mut complaint = String::new();
        let read = self.child.stderr.take().map(|mut errors| errors.read_to_string(&mut complaint));
        match (read, self.child.wait()) {
            (Some(Err(error)), _) | (_, Err(error)) => error.to_string(),
            (_, Ok(status)) => format!("{status}, {}", complaint.trim()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// QEMU asks for the right to execute what it emulates.
#[cfg(unix)]
fn allow_execution(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
}

#[cfg(not(unix))]
fn allow_execution(_: &Path) -> std::io::Result<()> {
    Ok(())
}
