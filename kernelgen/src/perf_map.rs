//! Names of emitted kernels for `perf`: `CRAFTSMAN_PERF_MAP=1` appends a line a kernel to `/tmp/perf-PID.map`.
//!
//! The format is that of `tools/perf/Documentation/jit-interface.txt` in the Linux sources: address and size in
//! hexadecimal without prefix, then the name to the end of the line. Other compilers in the process may write the same
//! file, so lines are only ever appended, each by one write.

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The environment variable that asks for the map; unset, empty or `0` for none.
const VARIABLE: &str = "CRAFTSMAN_PERF_MAP";

/// Tells `perf` that `code`, where it lies now, is called `name`. A map that cannot be written is logged, once a kernel,
/// and no error: the kernel runs all the same.
pub(crate) fn record(code: &[u8], name: impl Display) {
    static ASKED: OnceLock<bool> = OnceLock::new();
    if !*ASKED
        .get_or_init(|| std::env::var_os(VARIABLE).is_some_and(|value| !value.is_empty() && value != "0"))
    {
        return;
    }
    let path = path();
    if let Err(error) = append(&path, &line(code, name)) {
        tracing::warn!(name: "PerfMapNotWritten", path = %path.display(), %error);
    }
}

/// Where `perf` looks. Asked for each time: a process that forks has another map.
fn path() -> PathBuf {
    PathBuf::from(format!("/tmp/perf-{}.map", std::process::id()))
}

fn line(code: &[u8], name: impl Display) -> String {
    format!("{:x} {:x} {name}\n", code.as_ptr().addr(), code.len())
}

/// Appends in one write, which the operating system keeps whole among threads and processes that do the same.
fn append(path: &Path, line: &str) -> io::Result<()> {
    OpenOptions::new().create(true).append(true).open(path)?.write_all(line.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn lines_of_many_threads_stay_whole() {
        let path = std::env::temp_dir().join(format!("craftsman-perf-map-test-{}", std::process::id()));
        let code = [0_u8; 64];
        let expected = line(&code, "2560x2560-decode-tensor-a8/avx2");
        assert_eq!(expected, format!("{:x} 40 2560x2560-decode-tensor-a8/avx2\n", code.as_ptr().addr()));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..50).for_each(|_| append(&path, &expected).unwrap()));
            }
        });
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(text, expected.repeat(400));
    }
}
