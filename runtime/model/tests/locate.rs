//! Where models are found by name, and what their digests are. No test reads or changes the environment.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use craftsman_model::ErrorKind;
use craftsman_model::container::{Fingerprint, Places, Sha256};
use tempfile::TempDir;

/// A folder with all places in it.
struct Machine {
    folder: TempDir,
    places: Places,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| Some(folder.path().join(name));
        let places = Places { model: None, models: at("models"), hub: at("hub"), cache: at("cache") };
        Self { folder, places }
    }

    /// Writes a file below the folder.
    fn file(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, name).unwrap();
        path
    }

    /// A repository in a cache, with `files` in the snapshot of `main`.
    fn repository(&self, name: &str, files: &[&str]) -> PathBuf {
        let folder = format!("hub/models--{}", name.replace('/', "--"));
        let reference = self.file(&format!("{folder}/refs/main"));
        fs::write(reference, "0123abcd\n").unwrap();
        for file in files {
            self.file(&format!("{folder}/snapshots/0123abcd/{file}"));
        }
        self.folder.path().join(folder).join("snapshots/0123abcd")
    }

    fn find(&self, model: &str) -> PathBuf {
        self.places.locate(model.as_ref()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The message about a model that is not found.
    fn miss(&self, model: &str) -> String {
        let error = self.places.locate(model.as_ref()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Missing, "{error}");
        error.to_string()
    }
}

#[test]
fn a_path_is_itself() {
    let machine = Machine::new();
    let path = machine.file("some.gguf");
    assert_eq!(machine.find(path.to_str().unwrap()), path);
}

#[test]
fn a_folder_is_itself_or_its_only_file() {
    let machine = Machine::new();
    let path = machine.folder.path().join("org");
    let folder = path.to_str().unwrap();
    let only = machine.file("org/some.gguf");
    assert_eq!(machine.find(folder), only);
    machine.file("org/other.gguf");
    let problem = machine.miss(folder);
    assert!(
        problem.contains(&format!(
            "holds 2 GGUF files (other.gguf, some.gguf): name one, as in {folder}/other.gguf"
        )),
        "{problem}"
    );
    machine.file("org/config.json");
    assert_eq!(machine.find(folder), path);
}

#[test]
fn places_are_asked_in_order() {
    let machine = Machine::new();
    let cached = machine.file("cache/org/name.gguf");
    assert_eq!(machine.find("org/name"), cached);
    let snapshot = machine.repository("org/name", &["model.gguf"]);
    assert_eq!(machine.find("org/name"), snapshot.join("model.gguf"));
    let named = machine.file("models/org/name.gguf");
    assert_eq!(machine.find("org/name"), named);
    assert_eq!(machine.find("org/name.gguf"), named);
    let folder = machine.file("models/org/name/only.gguf");
    assert_eq!(machine.find("org/name"), folder);
}

#[test]
fn the_cache_may_have_the_layout_of_a_hub() {
    let machine = Machine::new();
    machine.repository("org/name", &["model.gguf"]);
    let places = Places { hub: None, cache: machine.places.hub.clone(), ..Places::default() };
    assert!(places.locate("org/name".as_ref()).unwrap().ends_with("snapshots/0123abcd/model.gguf"));
}

#[test]
fn a_repository_is_a_folder_a_file_or_shards() {
    let machine = Machine::new();
    let folder = machine.repository("org/folder", &["config.json", "model.safetensors", "extra.gguf"]);
    assert_eq!(machine.find("org/folder"), folder);
    assert_eq!(machine.find("org/folder:extra.gguf"), folder.join("extra.gguf"));
    let shards = machine.repository("shards", &["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"]);
    assert_eq!(machine.find("shards"), shards.join("m-00001-of-00002.gguf"));
    machine.repository("org/several", &["a.gguf", "b.gguf"]);
    let message = machine.miss("org/several");
    assert!(
        message.contains("2 GGUF files (a.gguf, b.gguf)") && message.contains("org/several:a.gguf"),
        "{message}"
    );
    machine.repository("org/none", &["config.json", "pytorch_model.bin"]);
    assert!(machine.miss("org/none").contains("neither config.json with safetensors files nor a GGUF file"));
}

#[test]
fn revisions_are_references_or_commits() {
    let machine = Machine::new();
    let main = machine.repository("org/name", &["model.gguf"]).join("model.gguf");
    let other = machine.file("hub/models--org--name/snapshots/4567/model.gguf");
    fs::write(machine.file("hub/models--org--name/refs/v1.0"), "4567").unwrap();
    assert_eq!(machine.find("org/name@main"), main);
    for revision in ["v1.0", "4567"] {
        assert_eq!(machine.find(&format!("org/name@{revision}:model.gguf")), other);
    }
    assert!(machine.miss("org/name@v2.0").contains("snapshots/v2.0: not there"));
}

#[test]
fn the_error_names_every_place_that_was_tried() {
    let machine = Machine::new();
    let message = machine.miss("org/name");
    let default = Places { model: Some("org/name".into()), ..machine.places.clone() };
    assert!(
        default.locate("org/name".as_ref()).unwrap_err().to_string().contains("CRAFTSMAN_MODEL names it")
    );
    assert!(!message.contains("CRAFTSMAN_MODEL"), "{message}");
    for place in [
        "org/name: not there",
        "models/org/name: not there",
        "models/org/name.gguf: not there",
        "hub/models--org--name: not there",
        "cache/org/name: not there",
        "cache/org/name.gguf: not there",
        "cache/models--org--name: not there",
    ] {
        assert!(message.contains(place), "{place}: {message}");
    }
    // What can only be a path is looked for nowhere else.
    assert_eq!(machine.miss("./name.gguf").matches("not there").count(), 1);
}

#[test]
fn hostile_names_and_references_lead_nowhere() {
    let machine = Machine::new();
    let outside = machine.file("outside.gguf");
    machine.repository("org/name", &["model.gguf"]);
    let reference = machine.folder.path().join("hub/models--org--name/refs/main");
    for text in ["../../../../outside.gguf", "/etc", "", "..", &"x".repeat(1 << 20)] {
        fs::write(&reference, text).unwrap();
        machine.miss("org/name");
    }
    fs::write(&reference, [0xFF, 0xFE]).unwrap();
    machine.miss("org/name");
    fs::write(&reference, "0123abcd").unwrap();
    let upwards = format!("org/name:../../../../{}", outside.file_name().unwrap().to_str().unwrap());
    for name in [upwards.as_str(), "org/name@../refs", "../outside", "org/name:", ":", "@", "", "a/b/c/d"] {
        machine.miss(name);
    }
}

#[test]
#[cfg(unix)]
fn a_link_to_a_blob_is_followed_and_must_lead_somewhere() {
    let machine = Machine::new();
    let snapshot = machine.repository("org/name", &[]);
    fs::create_dir_all(&snapshot).unwrap();
    let link = snapshot.join("model.gguf");
    std::os::unix::fs::symlink("../../blobs/abc", &link).unwrap();
    assert!(machine.miss("org/name:model.gguf").contains("not complete"));
    machine.file("hub/models--org--name/blobs/abc");
    assert_eq!(machine.find("org/name:model.gguf"), link);
    assert_eq!(machine.find("org/name"), link);
}

#[test]
fn variables_say_where_the_caches_are() {
    let places = |variables: &[(&str, &str)]| {
        let variables: HashMap<String, OsString> =
            variables.iter().map(|&(name, value)| (name.to_owned(), value.into())).collect();
        let [home, cache] = ["/home/me", "/home/me/cache"].map(|path| Some(Path::new(path)));
        Places::from_variables(|name| variables.get(name).cloned(), home, cache)
    };
    let none = places(&[]);
    assert_eq!((none.model, none.models), (None, Some("models".into())));
    assert_eq!(none.cache.as_deref(), Some(Path::new("/home/me/cache/craftsman/models")));
    let hub = |variables: &[(&str, &str)]| places(variables).hub.unwrap();
    assert_eq!(hub(&[]), Path::new("/home/me/.cache/huggingface/hub"));
    assert_eq!(hub(&[("XDG_CACHE_HOME", "/x")]), Path::new("/x/huggingface/hub"));
    assert_eq!(hub(&[("XDG_CACHE_HOME", "/x"), ("HF_HOME", "/h")]), Path::new("/h/hub"));
    assert_eq!(hub(&[("HF_HOME", "/h"), ("HF_HUB_CACHE", "/c")]), Path::new("/c"));
    assert_eq!(hub(&[("HF_HOME", "")]), Path::new("/home/me/.cache/huggingface/hub"));
    assert_eq!(places(&[("CRAFTSMAN_MODEL", "a/b")]).model, Some("a/b".into()));
    let homeless = Places::from_variables(|_| None, None, None);
    assert_eq!((homeless.hub, homeless.cache), (None, None));
}

#[test]
fn one_file_has_the_digest_that_sha256sum_prints() {
    let machine = Machine::new();
    let path = machine.file("model.gguf");
    // Longer than one block, and FIPS 180-2's third example: a million times `a`.
    fs::write(&path, "a".repeat(1_000_000)).unwrap();
    let mut steps = Vec::new();
    let found = Fingerprint::of(&path, |done, total| steps.push((done, total))).unwrap();
    let expected = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";
    assert_eq!(found.sha256.to_string(), expected);
    assert_eq!(found.files, [("model.gguf".to_owned(), found.sha256)]);
    assert_eq!(steps.last(), Some(&(1_000_000, 1_000_000)));
    found.verify(expected.to_uppercase().parse().unwrap()).unwrap();
    let error = found.verify(Sha256::of(b"other")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Digest);
    for word in ["model.gguf", expected, &Sha256::of(b"other").to_string()] {
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn several_files_have_the_digest_of_their_list() {
    let machine = Machine::new();
    for file in ["b.json", "a.safetensors", "B.json", ".hidden", "sub/c.json"] {
        machine.file(&format!("model/{file}"));
    }
    let found = Fingerprint::of(&machine.folder.path().join("model"), |_, _| ()).unwrap();
    let digest = |file: &str| Sha256::of(format!("model/{file}").as_bytes());
    let names = ["B.json", "a.safetensors", "b.json"];
    assert_eq!(found.files, names.map(|name| (name.to_owned(), digest(name))));
    let list = names.map(|name| format!("{}  {name}\n", digest(name))).concat();
    assert_eq!(found.sha256, Sha256::of(list.as_bytes()));

    let shards = ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"].map(|name| machine.file(name));
    let [one, two] = shards.each_ref().map(|path| Fingerprint::of(path, |_, _| ()).unwrap());
    assert_eq!((&one.files, one.sha256), (&two.files, two.sha256));
    fs::remove_file(&shards[0]).unwrap();
    let error = Fingerprint::of(&shards[1], |_, _| ()).unwrap_err();
    assert!(error.to_string().contains("m-00001-of-00002.gguf"), "{error}");
}

#[test]
fn digests_are_64_digits() {
    for text in ["", "abc", &"g".repeat(64), &"0".repeat(63), &"0".repeat(66), &"ä".repeat(32)] {
        assert_eq!(text.parse::<Sha256>().unwrap_err().kind(), ErrorKind::Input, "{text}");
    }
}
