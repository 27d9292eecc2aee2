//! How text is cut before byte pairs are merged: one row a kind, by the names that GGUF files use.

use serde_json::Value as Json;
use tokenizers::SplitDelimiterBehavior;
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{NormalizerWrapper, PreTokenizerWrapper};

use crate::{ErrorKind, ModelError};

/// What `tokenizer.ggml.pre` decides.
pub struct SplitKind {
    /// The names of the kind in GGUF files.
    names: &'static [&'static str],
    /// Each cuts what the ones before it left.
    patterns: &'static [&'static str],
    /// Whether a piece that is a token as a whole is taken before any merge is tried.
    pub ignore_merges: bool,
    /// Whether text is brought to Unicode's form C first, as the model's own tokenizer does.
    composes: bool,
    /// Whether a begin token is added where the file does not say.
    pub add_bos: bool,
}

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Line ends, letters of scripts that have cases, punctuation, spaces at the end, East Asian scripts, digits.
const DEEPSEEK: &[&str] = &[
    r"[\r\n]",
    r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\x{1f7d}ᾀ-ᾴᾶ-ᾼ\x{1fbe}ῂ-ῄῆ-ῌῐ-\x{1fd3}ῖ-\x{1fdb}ῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\x{2126}ℨ\x{212a}-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+",
    r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
    r"\s+$",
    r"[一-龥ࠀ-一가-퟿]+",
    r"\p{N}+",
];

/// The patterns are those of the models' own `tokenizer.json` files, which llama.cpp's `llama-vocab.cpp` repeats.
const KINDS: &[SplitKind] = &[
    SplitKind {
        // The official GGUF of BitNet b1.58 2B-4T has no `pre`; its tokenizer is llama 3's.
        names: &["llama-bpe", "llama3", "llama-v3", "falcon3", "lfm2", "default", ""],
        patterns: &[LLAMA3],
        ignore_merges: true,
        composes: false,
        add_bos: true,
    },
    SplitKind { names: &["qwen2"], patterns: &[QWEN2], ignore_merges: false, composes: true, add_bos: false },
    SplitKind {
        names: &["gpt-2", "gpt2"],
        patterns: &[GPT2],
        ignore_merges: false,
        composes: false,
        add_bos: false,
    },
    SplitKind { names: &["glm4"], patterns: &[LLAMA3], ignore_merges: true, composes: false, add_bos: false },
    SplitKind {
        names: &["deepseek-llm"],
        patterns: DEEPSEEK,
        ignore_merges: false,
        composes: false,
        add_bos: true,
    },
    SplitKind { names: &["olmo"], patterns: &[GPT2], ignore_merges: false, composes: true, add_bos: false },
];

impl SplitKind {
    /// The kind of this name; the empty name stands for a file that does not say.
    pub fn named(name: &str) -> Result<&'static Self, ModelError> {
        KINDS.iter().find(|kind| kind.names.contains(&name)).ok_or_else(|| {
            let known: Vec<&str> =
                KINDS.iter().flat_map(|kind| kind.names).copied().filter(|name| !name.is_empty()).collect();
            ModelError::new(
                ErrorKind::Unsupported,
                format!("the pre-tokenizer `{}` is unknown", name.escape_debug()),
                format!(
                    "use a model with one of {}, or its Hugging Face folder with tokenizer.json",
                    known.join(", ")
                ),
            )
            .key("tokenizer.ggml.pre")
        })
    }

    /// The kind that a `tokenizer.json` describes.
    pub fn of_json(json: &Json) -> Result<&'static Self, ModelError> {
        let cutting = json.get("pre_tokenizer").map(steps).unwrap_or_default();
        let patterns = cutting.iter().filter_map(|step| step.pointer("/pattern/Regex")?.as_str());
        let mut patterns: Vec<&str> = patterns.collect();
        if patterns.is_empty() {
            patterns.push(GPT2);
        }
        let normalizing = json.get("normalizer").map(steps).unwrap_or_default();
        let composes = normalizing.iter().any(|step| step.get("type").and_then(Json::as_str) == Some("NFC"));
        let ignore_merges = json.pointer("/model/ignore_merges").and_then(Json::as_bool).unwrap_or(false);
        let same = |kind: &&Self| {
            (kind.patterns, kind.composes, kind.ignore_merges) == (&patterns, composes, ignore_merges)
        };
        KINDS.iter().find(same).ok_or_else(|| {
            let problem = format!("cuts text by {patterns:?}, for which GGUF has no name here");
            ModelError::new(ErrorKind::Unsupported, problem, "use the folder as it is").key("pre_tokenizer")
        })
    }

    /// Its usual name in GGUF files.
    pub fn name(&self) -> &'static str {
        self.names.first().copied().unwrap_or_default()
    }

    /// The cutting itself, and the spelling of bytes as characters after it.
    pub fn pre_tokenizer(&self) -> tokenizers::Result<PreTokenizerWrapper> {
        let split = |pattern: &&str| {
            let pattern = SplitPattern::Regex((*pattern).to_owned());
            Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map(PreTokenizerWrapper::from)
        };
        let mut steps: Vec<_> = self.patterns.iter().map(split).collect::<Result<_, _>>()?;
        steps.push(ByteLevel::new(false, true, false).into());
        Ok(Sequence::new(steps).into())
    }

    /// What happens to text before it is cut.
    pub fn normalizer(&self) -> Option<NormalizerWrapper> {
        self.composes.then(|| NFC.into())
    }
}

/// The steps of a pre-tokenizer or normaliser: those of a sequence, or itself.
fn steps(json: &Json) -> Vec<&Json> {
    let sequence = ["pretokenizers", "normalizers"].into_iter().find_map(|key| json.get(key)?.as_array());
    sequence.map_or_else(|| vec![json], |steps| steps.iter().collect())
}

#[cfg(test)]
mod tests {
    use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

    use super::SplitKind;

    fn cut(name: &str, text: &str) -> Vec<String> {
        let mut pieces = PreTokenizedString::from(text);
        let cutter = SplitKind::named(name).unwrap().pre_tokenizer().unwrap();
        cutter.pre_tokenize(&mut pieces).unwrap();
        let splits = pieces.get_splits(OffsetReferential::Original, OffsetType::Byte);
        splits.into_iter().map(|(_, (start, end), _)| text[start..end].to_owned()).collect()
    }

    /// Each pattern cuts every piece that the ones before it made: the range from `:` to `~` in the third holds the
    /// letters of ASCII, so that words come apart at all others.
    #[test]
    fn several_patterns_cut_in_turn() {
        let pieces = cut("deepseek-llm", "Hello, W\u{f6}rld\u{4e16}\u{754c} 1234\n x  ");
        let expected =
            ["Hello", ",", " W", "\u{f6}", "rld", "\u{4e16}\u{754c}", " ", "1234", "\n", " x", "  "];
        assert_eq!(pieces, expected);
        assert_eq!(cut("glm4", "ab12345 c"), ["ab", "123", "45", " c"]);
    }
}
