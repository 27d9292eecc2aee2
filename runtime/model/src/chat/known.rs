//! Templates that are known: in place of broken ones, and for models that bring none.

/// A template, for models whose vocabulary has this control token.
struct Known {
    /// Architectures whose own template is known to be wrong; none where it only fills a gap.
    instead: &'static [&'static str],
    token: &'static str,
    source: &'static str,
}

/// Every one; the first that fits is taken.
static ALL: &[Known] = &[
    // Microsoft's BitNet b1.58 2B-4T. The template in its GGUF file is another one (`Human:`, `BITNETAssistant:`) than the
    // model was trained on, which stands in tokenizer_config.json.
    Known {
        instead: &["bitnet-b1.58", "bitnet-25"],
        token: "<|eot_id|>",
        source: "{% for message in messages %}{{ (bos_token if loop.first else '') + message['role'] | capitalize + ': ' + \
                 message['content'] | trim + '<|eot_id|>' }}{% endfor %}\
                 {% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}",
    },
    // Llama 3.
    Known {
        instead: &[],
        token: "<|start_header_id|>",
        source: "{% for message in messages %}{{ (bos_token if loop.first else '') + '<|start_header_id|>' + message['role'] + \
                 '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}{% endfor %}\
                 {% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}",
    },
    // ChatML: Qwen and many others.
    Known {
        instead: &[],
        token: "<|im_start|>",
        source: "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + \
                 '<|im_end|>\\n' }}{% endfor %}\
                 {% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    },
    // GLM-4.
    Known {
        instead: &[],
        token: "[gMASK]",
        source: "[gMASK]<sop>{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'] }}{% endfor %}\
                 {% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}",
    },
];

/// The template to take instead of a model's own.
pub(super) fn instead(architecture: &str, has: impl Fn(&str) -> bool) -> Option<&'static str> {
    let known = ALL.iter().find(|known| known.instead.contains(&architecture) && has(known.token));
    known.map(|known| known.source)
}

/// The template of models with such a vocabulary.
pub(super) fn by_vocabulary(has: impl Fn(&str) -> bool) -> Option<&'static str> {
    let known = ALL.iter().find(|known| known.instead.is_empty() && has(known.token));
    known.map(|known| known.source)
}
