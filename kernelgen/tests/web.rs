//! The example page in headless Chromium: it loads the carried model, continues a text with emitted kernels, and shows how
//! fast. Without Chromium the page is put together and not opened, and the test says so.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

/// What `craftsman run runtime/craftsman/assets/python-5m-i2_s.gguf "def read(path):" -n 24` prints.
const EXPECTED: &str = "def read(path):\n    \"\"\"Return a list of the file.\n\n    The file is a file.\n\n    The file is a file, the";
const QUERY: &str = "prompt=def%20read(path):&count=24";

const FLAGS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=900,640",
];

fn page(folder: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/web/build.sh");
    let built = Command::new(script).arg(folder).env("KERNELGEN", env!("CARGO_BIN_EXE_kernelgen")).output();
    let built = built.unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
}

/// Serves the files of a folder; what is posted to it is handed on.
fn serve(folder: &Path, listener: &TcpListener, posted: &Sender<String>) {
    for stream in listener.incoming().flatten() {
        let (folder, posted) = (folder.to_owned(), posted.clone());
        std::thread::spawn(move || answer(stream, &folder, &posted));
    }
}

fn answer(stream: TcpStream, folder: &Path, posted: &Sender<String>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut words = lines.first()?.split_whitespace();
    let (method, path) = (words.next()?, words.next()?);
    let body = if method == "POST" {
        let length =
            lines.iter().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length?];
        reader.read_exact(&mut body).ok()?;
        posted.send(String::from_utf8_lossy(&body).into_owned()).ok()?;
        Vec::new()
    } else {
        let name = path.split('?').next()?.trim_start_matches('/');
        std::fs::read(folder.join(name)).unwrap_or_default()
    };
    let kind = match path.split('?').next()?.rsplit('.').next()? {
        "html" => "text/html",
        "js" => "text/javascript",
        "wasm" => "application/wasm",
        _ => "application/octet-stream",
    };
    let mut stream = stream;
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    stream.write_all(&body).ok()
}

/// A browser, ended with the test.
struct Browser(Child);

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn chromium(folder: &Path, more: &[&str], url: &str) -> std::io::Result<Browser> {
    let mut command = Command::new("chromium");
    command.args(FLAGS).arg(format!("--user-data-dir={}", folder.join("profile").display()));
    command.args(more).arg(url).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(Browser(command.spawn()?))
}

#[test]
fn the_page_continues_a_text_in_chromium() {
    let folder = tempfile::tempdir().unwrap();
    page(folder.path());
    if Command::new("chromium").arg("--version").output().is_err() {
        return println!("skipped: no chromium");
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = format!("http://{}/index.html", listener.local_addr().unwrap());
    let (sender, posted) = channel();
    let served = folder.path().to_owned();
    std::thread::spawn(move || serve(&served, &listener, &sender));

    let browser =
        chromium(folder.path(), &["--remote-debugging-port=0"], &format!("{host}?{QUERY}&report=/report"));
    let _browser = browser.unwrap();
    let report = posted.recv_timeout(Duration::from_mins(2)).expect("the page reports");
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["text"], EXPECTED, "{report}");
    let status = report["status"].as_str().unwrap();
    let rate = status.strip_prefix("24 tokens, ").and_then(|rest| rest.strip_suffix(" tokens/s"));
    assert!(rate.is_some_and(|rate| rate.parse::<u32>().is_ok_and(|rate| rate > 0)), "{status}");
    println!("{status}");

    // The same as a picture; time is the page's own, so that nobody waits.
    let picture = folder.path().join("page.png");
    let more = ["--virtual-time-budget=60000", &format!("--screenshot={}", picture.display())];
    let mut browser = chromium(&folder.path().join("second"), &more, &format!("{host}?{QUERY}")).unwrap();
    assert!(browser.0.wait().unwrap().success());
    let png = std::fs::read(&picture).unwrap();
    let size = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
    assert_eq!((&png[1..4], size(16), size(20)), (&b"PNG"[..], 900, 640));
    // An empty page, or one that still loads, is half as large.
    assert!(png.len() > 30_000, "{} bytes", png.len());
}
