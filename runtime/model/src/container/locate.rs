//! From what a user calls a model to its files.
//!
//! ```text
//! MODEL = PATH                               a file or folder, as it is
//!       | NAME                               NAME, NAME.gguf or a folder NAME, in ./models and the user's cache folder
//!       | [ORG/]NAME[@REVISION][:FILE]       a repository in a cache of Hugging Face's layout
//! ```
//! Layout of that cache (`huggingface_hub`'s "Understand caching"): `models--ORG--NAME/refs/REVISION` holds the name of a
//! folder in `models--ORG--NAME/snapshots`, whose files are links to `models--ORG--NAME/blobs`.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use etcetera::BaseStrategy;

use crate::{ErrorKind, ModelError};

/// The environment variable that stands for MODEL where none is given.
const MODEL_VARIABLE: &str = "CRAFTSMAN_MODEL";
/// The revision of a repository where none is named.
const DEFAULT_REVISION: &str = "main";
/// Names of files that an error shows.
const SHOWN_FILES: usize = 8;

/// Where models are looked for: everything that [`locate`](Self::locate) depends on but the files themselves.
///
/// ```
/// use craftsman_model::container::Places;
/// let folder = tempfile::tempdir().unwrap();
/// std::fs::write(folder.path().join("tiny.gguf"), b"GGUF").unwrap();
/// let places = Places { models: Some(folder.path().into()), ..Places::default() };
/// assert_eq!(places.locate("tiny".as_ref())?, folder.path().join("tiny.gguf"));
/// let error = places.locate("huge".as_ref()).unwrap_err();
/// assert!(error.to_string().contains("huge.gguf"));
/// # Ok::<(), craftsman_model::ModelError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// What stands for MODEL where none is given.
    pub model: Option<PathBuf>,
    /// A folder of models by name.
    pub models: Option<PathBuf>,
    /// A cache of Hugging Face's layout.
    pub hub: Option<PathBuf>,
    /// A folder of models by name, which may also have Hugging Face's layout.
    pub cache: Option<PathBuf>,
}

impl Places {
    /// Those of this process: `CRAFTSMAN_MODEL`; `./models`; `HF_HUB_CACHE`, or `hub` in `HF_HOME`, or `huggingface/hub` in
    /// `XDG_CACHE_HOME` or `~/.cache`; `craftsman/models` in the user's cache folder.
    pub fn from_env() -> Self {
        let home = etcetera::home_dir().ok();
        let cache = etcetera::base_strategy::choose_native_strategy().ok().map(|base| base.cache_dir());
        Self::from_variables(|name| std::env::var_os(name), home.as_deref(), cache.as_deref())
    }

    /// As [`Self::from_env`], of the variables that `variable` says, a home folder and a cache folder.
    pub fn from_variables(
        variable: impl Fn(&str) -> Option<OsString>,
        home: Option<&Path>,
        cache: Option<&Path>,
    ) -> Self {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let cache_home = || variable("XDG_CACHE_HOME").or_else(|| Some(home?.join(".cache")));
        let hf_home = || variable("HF_HOME").or_else(|| Some(cache_home()?.join("huggingface")));
        Self {
            model: variable(MODEL_VARIABLE),
            models: Some(PathBuf::from("models")),
            hub: variable("HF_HUB_CACHE").or_else(|| Some(hf_home()?.join("hub"))),
            cache: cache.map(|cache| cache.join("craftsman").join("models")),
        }
    }

    /// The GGUF file or the folder that `model` means: what is there, of a folder of one GGUF file that file; otherwise
    /// the first found under that name in `models`, `hub` and `cache`.
    ///
    /// # Errors
    /// Names every place that was tried, and what was wrong with what is there.
    pub fn locate(&self, model: &Path) -> Result<PathBuf, ModelError> {
        if fs::exists(model).map_err(|error| ModelError::io(model, error))? {
            return self.within(model);
        }
        let mut search = Search { tried: vec![describe(model, "not there")] };
        let found = Entry::parse(model).and_then(|entry| {
            let models = || self.models.as_deref();
            (models().and_then(|folder| search.by_name(folder, &entry)))
                .or_else(|| search.in_hub(self.hub.as_deref()?, &entry))
                .or_else(|| search.by_name(self.cache.as_deref()?, &entry))
                .or_else(|| search.in_hub(self.cache.as_deref()?, &entry))
        });
        found.ok_or_else(|| search.failed(model, self.model.as_deref() == Some(model)))
    }

    /// What is there: itself, or the only GGUF file of a folder that is no Hugging Face model.
    fn within(&self, model: &Path) -> Result<PathBuf, ModelError> {
        let Some(name) = model.to_str().filter(|_| model.is_dir() && !model.join("config.json").exists())
        else {
            return Ok(model.to_path_buf());
        };
        let mut search = Search { tried: Vec::new() };
        let found = search.choose(model, &Entry { name, revision: None, file: None });
        found.ok_or_else(|| search.failed(model, self.model.as_deref() == Some(model)))
    }
}

/// What a name says: a repository or folder, and perhaps a revision and a file of it.
#[derive(Debug, PartialEq, Eq)]
struct Entry<'a> {
    name: &'a str,
    revision: Option<&'a str>,
    file: Option<&'a str>,
}

impl<'a> Entry<'a> {
    /// `None` of what can only be a path: absolute, upwards, from `.`, or not UTF-8.
    fn parse(model: &'a Path) -> Option<Self> {
        let text = model.to_str()?;
        let (text, file) = split(text, ':');
        let (name, revision) = split(text, '@');
        (is_inside(name) && revision.is_none_or(is_inside) && file.is_none_or(is_inside)).then_some(Self {
            name,
            revision,
            file,
        })
    }

    /// The folder of a repository in Hugging Face's cache; `None` of what is no name of one.
    fn repository(&self) -> Option<String> {
        (self.name.split('/').count() <= 2).then(|| format!("models--{}", self.name.replace('/', "--")))
    }
}

/// `text` up to the first `mark`, and what follows it.
fn split(text: &str, mark: char) -> (&str, Option<&str>) {
    text.split_once(mark).map_or((text, None), |(before, after)| (before, Some(after)))
}

/// Whether a relative path stays in its folder.
fn is_inside(path: &str) -> bool {
    let plain = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    plain && !path.is_empty() && !path.starts_with('.')
}

/// One search, with what it tried in vain.
struct Search {
    tried: Vec<String>,
}

impl Search {
    /// Notes what is wrong at `path`.
    fn miss<T>(&mut self, path: &Path, problem: &str) -> Option<T> {
        self.tried.push(describe(path, problem));
        None
    }

    /// NAME or NAME.gguf in `folder`.
    fn by_name(&mut self, folder: &Path, entry: &Entry<'_>) -> Option<PathBuf> {
        if entry.revision.is_some() {
            return None;
        }
        let path = folder.join(entry.name);
        if path.is_dir() {
            return self.choose(&path, entry);
        }
        let mut with_ending = path.clone().into_os_string();
        with_ending.push(".gguf");
        let files = [path, with_ending.into()];
        if entry.file.is_none()
            && let Some(file) = files.iter().find(|file| file.is_file())
        {
            return Some(file.clone());
        }
        files.iter().find_map(|file| self.miss(file, "not there"))
    }

    /// A snapshot of a repository in `hub`.
    fn in_hub(&mut self, hub: &Path, entry: &Entry<'_>) -> Option<PathBuf> {
        let repository = hub.join(entry.repository()?);
        if !repository.is_dir() {
            return self.miss(&repository, "not there");
        }
        let revision = entry.revision.unwrap_or(DEFAULT_REVISION);
        let reference = repository.join("refs").join(revision);
        let commit = read_short(&reference).ok();
        // A revision that is no reference may be a commit itself.
        let commit = commit.as_deref().map_or(revision, str::trim);
        if !is_inside(commit) {
            return self.miss(&reference, "names no snapshot");
        }
        let snapshot = repository.join("snapshots").join(commit);
        if snapshot.is_dir() { self.choose(&snapshot, entry) } else { self.miss(&snapshot, "not there") }
    }

    /// The file of `folder` that is asked for, the folder if it is a model, or its only GGUF file.
    fn choose(&mut self, folder: &Path, entry: &Entry<'_>) -> Option<PathBuf> {
        if let Some(file) = entry.file {
            let path = folder.join(file);
            // A link whose blob is missing is no file: a download that did not end.
            return if path.is_file() { Some(path) } else { self.miss(&path, "not there, or not complete") };
        }
        if folder.join("config.json").is_file() && !files(folder, "safetensors").is_empty() {
            return Some(folder.to_path_buf());
        }
        // Of a model in shards any opens all.
        let mut found = files(folder, "gguf");
        found.retain(|name| !is_later_shard(name));
        match &found[..] {
            [only] => Some(folder.join(only)),
            [] => self.miss(folder, "holds neither config.json with safetensors files nor a GGUF file"),
            several => {
                let shown =
                    several.iter().take(SHOWN_FILES).map(String::as_str).collect::<Vec<_>>().join(", ");
                let mark = if folder == Path::new(entry.name) { '/' } else { ':' };
                let example = format!("{}{mark}{}", entry.name, several[0]);
                let problem =
                    format!("holds {} GGUF files ({shown}): name one, as in {example}", several.len());
                self.miss(folder, &problem)
            }
        }
    }

    /// The error; `by_default` says that the name came from the environment.
    fn failed(self, model: &Path, by_default: bool) -> ModelError {
        let whose = if by_default { format!(" ({MODEL_VARIABLE} names it)") } else { String::new() };
        let problem = format!("no such model{whose}; tried\n  {}", self.tried.join("\n  "));
        let remedy = "give the path of a GGUF file or folder, or the name of a model in one of these places";
        ModelError::new(ErrorKind::Missing, problem, remedy).in_file(model)
    }
}

/// The text of a file that holds the name of a commit: 40 characters, and never many more.
fn read_short(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(256).read_to_string(&mut text)?;
    Ok(text)
}

fn describe(path: &Path, problem: &str) -> String {
    format!("{}: {problem}", path.display())
}

/// The names of the files in `folder` that end so, sorted. Those that are not UTF-8 are no model's.
fn files(folder: &Path, extension: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let wanted = |name: &String| Path::new(name).extension() == Some(OsStr::new(extension));
    let mut names: Vec<_> = names.filter(wanted).filter(|name| folder.join(name).is_file()).collect();
    names.sort();
    names
}

/// Whether a name ends with `-00002-of-00005.gguf` or the like, and not with the first number.
fn is_later_shard(name: &str) -> bool {
    let Some((start, _)) = name.strip_suffix(".gguf").and_then(|stem| stem.rsplit_once("-of-")) else {
        return false;
    };
    start.rsplit_once('-').is_some_and(|(_, number)| number.parse().is_ok_and(|number: u32| number != 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &str) -> Option<Entry<'_>> {
        Entry::parse(Path::new(text))
    }

    #[test]
    fn names_are_taken_apart() {
        let parts = |name, revision, file| Some(Entry { name, revision, file });
        assert_eq!(entry("model"), parts("model", None, None));
        assert_eq!(entry("org/name@v1.0:a/b.gguf"), parts("org/name", Some("v1.0"), Some("a/b.gguf")));
        assert_eq!(entry("org/name:b.gguf"), parts("org/name", None, Some("b.gguf")));
        for path in ["/abs/x", "../x", "./x", "a/../../x", "", "a@", "a@../b", "a:/etc/passwd", "a:../b"] {
            assert_eq!(entry(path), None, "{path}");
        }
        assert_eq!(
            entry("org/name").and_then(|entry| entry.repository()).as_deref(),
            Some("models--org--name")
        );
        assert_eq!(entry("a/b/c").and_then(|entry| entry.repository()), None);
    }

    #[test]
    fn only_later_shards_are_left_out() {
        let later = ["m-00002-of-00005.gguf", "m-00010-of-00010.gguf"];
        assert!(later.iter().all(|name| is_later_shard(name)));
        let first = ["m-00001-of-00005.gguf", "m.gguf", "best-of-breed.gguf", "m-of-2.gguf"];
        assert!(!first.iter().any(|name| is_later_shard(name)));
    }
}
