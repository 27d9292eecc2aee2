//! A Hugging Face folder: `config.json` and safetensors files.

mod config;
mod derived;
mod names;
pub mod packing;
mod shard;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use serde_json::Value as Json;

use super::TensorInfo;
use super::decode;
use super::mapping::Bytes;
use super::metadata::Metadata;
use super::part::{Encoding, Part};
use super::types::TensorType;
use crate::ModelError;
use config::{Config, Packing};
use shard::Entry;

/// Ways into the folder's files for [`crate::fuzz`].
pub mod fuzz {
    use super::{Bytes, Config, ModelError, Path, shard, weight_map};

    pub fn safetensors(data: &[u8]) -> Result<(), ModelError> {
        shard::parse(&Bytes::from(data.to_vec())).map(drop)
    }

    pub fn config(data: &[u8]) -> Result<(), ModelError> {
        weight_map(data).map(drop).or_else(|_| Config::parse(Path::new("config.json"), data).map(drop))
    }
}

/// The tensors of a folder under GGUF's names.
pub struct Folder {
    metadata: Metadata,
    tensors: Vec<Tensor>,
}

/// A tensor, or the experts of a stack in ascending order.
pub struct Tensor {
    pub info: TensorInfo,
    parts: Vec<Part>,
}

impl Folder {
    /// Reads `config.json` and the headers of all safetensors files of the folder.
    pub fn open(folder: &Path) -> Result<Self, ModelError> {
        let path = folder.join("config.json");
        let text = std::fs::read(&path).map_err(|error| ModelError::io(&path, error))?;
        let config = Config::parse(&path, &text)?;
        let mut files = Files::default();
        match index(folder)? {
            None => files.open(&folder.join("model.safetensors"))?,
            Some(index) => files.open_all(folder, &index)?,
        }
        let tensors = files.translate(&config)?;
        Ok(Self { metadata: config.metadata, tensors })
    }

    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }
}

const INDEX: &str = "model.safetensors.index.json";

/// The file of each tensor, when the folder has an index.
fn index(folder: &Path) -> Result<Option<BTreeMap<String, String>>, ModelError> {
    let path = folder.join(INDEX);
    match std::fs::read(&path) {
        Ok(text) => weight_map(&text).map(Some).map_err(|error| error.in_file(&path)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ModelError::io(&path, error)),
    }
}

/// The file of each tensor in the text of an index. A name that leads out of the folder is refused.
fn weight_map(text: &[u8]) -> Result<BTreeMap<String, String>, ModelError> {
    let json: Json =
        serde_json::from_slice(text).map_err(|error| ModelError::corrupt(format!("not JSON: {error}")))?;
    let map = json.get("weight_map").and_then(Json::as_object);
    let map = map.ok_or_else(|| ModelError::corrupt("has no object").key("weight_map"))?;
    let file = |(tensor, file): (&String, &Json)| {
        let name = file.as_str().unwrap_or_default();
        let mut parts = Path::new(name).components();
        if matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) {
            return Ok((tensor.clone(), name.to_owned()));
        }
        let problem = format!("`{}` is no file of the folder", name.escape_debug());
        Err(ModelError::corrupt(problem).key("weight_map"))
    };
    map.iter().map(file).collect()
}

/// Everything that the files hold, under their own names.
#[derive(Default)]
struct Files {
    entries: BTreeMap<String, (PathBuf, Entry)>,
}

/// Suffixes of tensors that are not weights of the graph: scales belong to the packed weights beside them, and
/// frequencies follow from the configuration.
const COMPANIONS: [&str; 2] = [".weight_scale", ".rotary_emb.inv_freq"];

impl Files {
    fn open(&mut self, path: &Path) -> Result<(), ModelError> {
        self.add(path, shard::open(path)?)
    }

    /// Opens the files of an index and checks that each holds what the index says.
    fn open_all(&mut self, folder: &Path, index: &BTreeMap<String, String>) -> Result<(), ModelError> {
        for file in index.values().collect::<BTreeSet<_>>() {
            self.open(&folder.join(file))?;
        }
        let elsewhere = |(tensor, file): &(&String, &String)| {
            self.entries.get(*tensor).is_none_or(|(found, _)| *found != folder.join(file))
        };
        match index.iter().find(elsewhere) {
            None => Ok(()),
            Some((tensor, file)) => {
                let problem = format!("is not in `{}`, where the index has it", file.escape_debug());
                Err(ModelError::corrupt(problem).in_file(folder.join(INDEX)).tensor(tensor))
            }
        }
    }

    fn add(&mut self, file: &Path, entries: Vec<Entry>) -> Result<(), ModelError> {
        for entry in entries {
            let name = entry.name.clone();
            if self.entries.insert(name.clone(), (file.to_path_buf(), entry)).is_some() {
                return Err(ModelError::corrupt("stands in two files").in_file(file).tensor(&name));
            }
        }
        Ok(())
    }

    /// The tensors under GGUF's names, in the order of these; names without a row in the tables stay as they are.
    fn translate(&self, config: &Config) -> Result<Vec<Tensor>, ModelError> {
        let mut stacks: BTreeMap<String, BTreeMap<Option<usize>, Part>> = BTreeMap::new();
        for (name, (file, entry)) in &self.entries {
            if COMPANIONS.iter().any(|suffix| name.ends_with(suffix))
                || (config.tied && name == "lm_head.weight")
            {
                continue;
            }
            let place =
                names::place(name).unwrap_or_else(|| names::Place { name: name.clone(), expert: None });
            let part = self.part(config, file, entry).map_err(|error| error.in_file(file).tensor(name))?;
            if stacks.entry(place.name).or_default().insert(place.expert, part).is_some() {
                return Err(ModelError::corrupt("two tensors have the same meaning")
                    .in_file(file)
                    .tensor(name));
            }
        }
        stacks.into_iter().map(|(name, parts)| stack(name, parts)).collect()
    }

    fn part(&self, config: &Config, file: &Path, entry: &Entry) -> Result<Part, ModelError> {
        let scale = entry.name.strip_suffix(".weight").map(|module| format!("{module}.weight_scale"));
        let scale = scale.and_then(|name| self.entries.get(&name));
        let mut shape = entry.shape.clone();
        // The weight of a depthwise convolution has a dimension for its one input channel, which GGUF leaves out.
        if let [channels, 1, taps] = shape[..] {
            shape = vec![channels, taps];
        }
        let encoding = match (config.packing, scale, dense_type(&entry.dtype)) {
            (packing @ (Packing::Multiplies | Packing::Divides), Some((_, scale)), None)
                if entry.dtype == "U8" =>
            {
                let rows =
                    shape.first_mut().ok_or_else(|| ModelError::shape("packed weights without rows"))?;
                let unpacked = rows.checked_mul(packing::ROWS_PER_BYTE);
                *rows = unpacked.ok_or_else(|| ModelError::shape(format!("{rows} packed rows")))?;
                Encoding::Packed(scale_of(packing, scale_value(scale)?)?)
            }
            (Packing::Online, _, Some(kind)) if config.quantises(&entry.name) => Encoding::Online(kind),
            (_, _, Some(kind)) => Encoding::Stored(kind),
            (_, _, None) => Encoding::Unknown(entry.dtype.clone()),
        };
        let (bytes, offset) = (entry.bytes.clone(), entry.offset);
        Ok(Part { file: file.to_path_buf(), encoding, shape, offset, bytes })
    }
}

fn dense_type(dtype: &str) -> Option<TensorType> {
    ["F32", "F16", "BF16"].contains(&dtype).then(|| TensorType::named(dtype)).flatten()
}

/// The one number of a `weight_scale`.
fn scale_value(entry: &Entry) -> Result<f32, ModelError> {
    let kind = dense_type(&entry.dtype);
    let wrong =
        || ModelError::shape(format!("a weight_scale of type {} and shape {:?}", entry.dtype, entry.shape));
    let count: usize = entry.shape.iter().product();
    let data = decode::dense(kind.filter(|_| count == 1).ok_or_else(wrong)?, &entry.bytes, 1)?;
    decode::floats(data).first().copied().ok_or_else(wrong)
}

/// What a stored `weight_scale` multiplies trits with.
fn scale_of(packing: Packing, stored: f32) -> Result<f32, ModelError> {
    let scale = if packing == Packing::Divides { 1.0 / stored } else { stored };
    if scale.is_finite() {
        Ok(scale)
    } else {
        Err(ModelError::corrupt(format!("a weight_scale of {stored} gives weights that are not finite")))
    }
}

/// Joins the parts of one name: a single tensor, or experts 0 to E-1 of equal shape.
fn stack(name: String, parts: BTreeMap<Option<usize>, Part>) -> Result<Tensor, ModelError> {
    let experts = parts.contains_key(&Some(0)).then_some(parts.len());
    let numbers = parts.keys().copied();
    let complete = match experts {
        Some(count) => numbers.eq((0..count).map(Some)),
        None => numbers.eq([None]),
    };
    let parts: Vec<Part> = parts.into_values().collect();
    let first = &parts[0];
    let equal = |part: &Part| part.shape == first.shape && part.encoding.name() == first.encoding.name();
    if !complete || !parts.iter().all(equal) {
        let problem = format!("its {} experts are not numbered 0 and up, of one shape and type", parts.len());
        return Err(ModelError::corrupt(problem).in_file(&first.file).tensor(&name));
    }
    let info = TensorInfo {
        name,
        shape: experts.into_iter().chain(first.shape.iter().copied()).collect(),
        type_name: first.encoding.name().to_owned(),
        bytes: parts.iter().map(|part| part.bytes.len() as u64).sum(),
        offset: first.offset as u64,
    };
    Ok(Tensor { info, parts })
}

impl Tensor {
    /// The experts of a stack in ascending order; of another tensor the one part.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }
}
