"""Fresh tiny models of every architecture that transformers has, and how far Craftsman's logits are from theirs.

Started by `cargo xtask crossval`, which passes the seed and the command that starts `craftsman`. Weights and sizes come
of the seed. References are computed in float32 with eager attention from the saved float16 weights.
"""

import pathlib
import random
import subprocess
import sys
import tempfile

import torch
import transformers
from safetensors.torch import load_file

# Largest difference of logits of about unit scale, for float weights (design of the numerics: 2e-3).
TOLERANCE = 2e-3
VOCABULARY = 512
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 8.0, "original_max_position_embeddings": 16}
DEEPSEEK_YARN = YARN | {"mscale": 0.707, "mscale_all_dim": 0.707, "beta_fast": 32, "beta_slow": 1}


def latent(draw):
    """Sizes of latent attention with experts behind one dense layer."""
    return {
        "num_hidden_layers": 3,
        "num_key_value_heads": 4,
        "kv_lora_rank": draw.choice([24, 32, 40]),
        "qk_nope_head_dim": draw.choice([24, 32]),
        "qk_rope_head_dim": 16,
        "v_head_dim": draw.choice([16, 32]),
        "n_routed_experts": draw.randint(3, 6),
        "n_shared_experts": draw.randint(1, 2),
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 48,
        "n_group": 1,
        "topk_group": 1,
    }


def models(draw):
    """One row a model: its name, the class of its configuration, and what differs from `BASE`."""
    layers = {"num_hidden_layers": draw.randint(2, 4)}
    grouped = layers | {"num_key_value_heads": draw.choice([1, 2, 4])}
    heads = grouped | {"head_dim": draw.choice([16, 32])}
    experts = {"num_experts": draw.randint(3, 8), "num_experts_per_tok": 2}
    mixed = heads | experts | {"moe_intermediate_size": 48, "norm_topk_prob": draw.choice([True, False])}
    lite = latent(draw) | {
        "q_lora_rank": 48,
        "mlp_layer_types": ["dense", "sparse", "sparse"],
        "norm_topk_prob": True,
        "routed_scaling_factor": 1.8,
    }
    v2 = latent(draw) | {"q_lora_rank": None, "first_k_dense_replace": 1, "topk_method": "greedy"}
    kinds = ["conv", "full_attention", "conv", "full_attention"]
    return [
        ("bitnet", transformers.BitNetConfig, grouped | {"tie_word_embeddings": True}),
        ("llama", transformers.LlamaConfig, grouped),
        ("mixtral", transformers.MixtralConfig, grouped | {"num_local_experts": 4, "num_experts_per_tok": 2}),
        ("qwen3", transformers.Qwen3Config, heads),
        ("qwen3, YaRN", transformers.Qwen3Config, heads | {"rope_parameters": YARN}),
        ("qwen3_moe", transformers.Qwen3MoeConfig, mixed),
        ("olmoe", transformers.OlmoeConfig, layers | experts | {"num_key_value_heads": 4}),
        ("glm4_moe_lite", transformers.Glm4MoeLiteConfig, lite),
        ("deepseek_v2", transformers.DeepseekV2Config, v2),
        ("deepseek_v2, YaRN", transformers.DeepseekV2Config, v2 | {"rope_parameters": DEEPSEEK_YARN}),
        ("lfm2", transformers.Lfm2Config, grouped | {"num_hidden_layers": 4, "layer_types": kinds}),
    ]


BASE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": None,
}


def save(config, folder):
    """Writes a model of random weights."""
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 1.3 / parameter.shape[-1] ** 0.5)
            else:
                parameter.copy_(1 + 0.2 * torch.randn_like(parameter))
        for name, buffer in model.named_buffers():
            if name.endswith("e_score_correction_bias"):
                buffer.normal_(0, 0.2)
    model.half().save_pretrained(folder)


def reference(folder, tokens):
    """Logits of the saved weights. Loaded anew: `half` has rounded the frequencies of the model that was saved."""
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )
    with torch.no_grad():
        return model.eval()(torch.tensor([tokens]), use_cache=False).logits[0]


def found(command, folder, tokens):
    """Logits of `craftsman`."""
    out = folder / "found.safetensors"
    ids = ",".join(map(str, tokens))
    subprocess.run([*command, "logits", folder, "--tokens", ids, "--out", out], check=True, stderr=subprocess.PIPE)
    return load_file(out)["logits"]


def main(seed, command):
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.manual_seed(seed)
    draw = random.Random(seed)
    worst = 0.0
    for name, kind, sizes in models(draw):
        tokens = [draw.randrange(VOCABULARY) for _ in range(40)]
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            save(kind(**(BASE | sizes)), folder)
            expected = reference(folder, tokens)
            try:
                difference = (found(command, folder, tokens) - expected).abs().max().item()
            except subprocess.CalledProcessError as error:
                sys.exit(f"{name}: {error.stderr.decode().strip()}")
        worst = max(worst, difference)
        print(f"{name:20} largest difference {difference:.1e} of logits with deviation {expected.std():.2f}")
    if not worst <= TOLERANCE:
        sys.exit(f"above {TOLERANCE}: try --seed {seed} again, and look at the first position that differs")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
