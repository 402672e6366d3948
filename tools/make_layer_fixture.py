#!/usr/bin/env python3
"""Writes the two small MoE layers of data/, each with inputs and the output to expect.

The expected output comes from the transformers library's own modules (Qwen3MoeSparseMoeBlock and
DeepseekV3MoE), run in float32 on a CPU on the BF16 weights and hidden states that are written:
it is independent of this project's code. Versions: torch 2.6.0, transformers 4.57.6, safetensors
0.8.0, numpy 2.2.6 (fixture-requirements.txt beside this file):

    python3 -m venv fixture-venv
    fixture-venv/bin/pip install -r tools/fixture-requirements.txt
    BRAID_FIXTURE_PYTHON=fixture-venv python3 tools/make_layer_fixture.py

Without these versions in the running interpreter, the one that BRAID_FIXTURE_PYTHON names (a
virtual environment or an interpreter) is used.

    make_layer_fixture.py            writes data/
    make_layer_fixture.py --check    writes to a temporary folder and compares with data/: the
                                     layer and its inputs byte for byte, the expected output
                                     within 1e-6; exits 77 if the versions are not installed

Numbers are drawn as whole numbers and scaled by one multiplication, so that they are the same on
every processor.
"""

import argparse
import importlib.metadata
import json
import os
import pathlib
import sys
import tempfile

VERSIONS = {"torch": "2.6.0", "transformers": "4.57.6", "safetensors": "0.8.0", "numpy": "2.2.6"}
ROOT = pathlib.Path(__file__).resolve().parents[1]
EXIT_SKIPPED = 77  # CTest's SKIP_RETURN_CODE

HIDDEN = 256
WIDTH = 64
EXPERTS = 32
TOP_K = 8
TOKENS = 96
# A token is taken only if the last chosen and the first rejected expert (and group) are at least
# this far apart, so that no rounding of a correct router changes a route.
MARGIN = 2e-3
# Neighbors among the chosen are at least this far apart, so that their order is certain too.
ORDER_MARGIN = 1e-4
MIN_OUTPUT_RMS = 0.1
MAX_BYTES = 4_000_000
TOLERANCE = 1e-6

QWEN3_MOE = {
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "torch_dtype": "bfloat16",
    "hidden_act": "silu",
    "hidden_size": HIDDEN,
    "moe_intermediate_size": WIDTH,
    "num_experts": EXPERTS,
    "num_experts_per_tok": TOP_K,
    "num_hidden_layers": 48,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "norm_topk_prob": True,
}

DEEPSEEK_V3 = {
    "architectures": ["DeepseekV3ForCausalLM"],
    "model_type": "deepseek_v3",
    "torch_dtype": "bfloat16",
    "hidden_act": "silu",
    "hidden_size": HIDDEN,
    "moe_intermediate_size": WIDTH,
    "n_routed_experts": EXPERTS,
    "n_shared_experts": 1,
    "num_experts_per_tok": TOP_K,
    "num_hidden_layers": 61,
    "first_k_dense_replace": 3,
    "moe_layer_freq": 1,
    "n_group": 8,
    "topk_group": 4,
    "topk_method": "noaux_tc",
    "scoring_func": "sigmoid",
    "norm_topk_prob": True,
    "routed_scaling_factor": 2.5,
}


def installed(package):
    """The installed version of a package, without a build's suffix such as +cpu."""
    try:
        return importlib.metadata.version(package).split("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return None


def what_is_missing():
    return [f"{package} {version} (there is {installed(package) or 'none'})"
            for package, version in VERSIONS.items() if installed(package) != version]


def find_interpreter_or_exit(checking):
    """Returns if this interpreter has the versions, else goes on in the one that was named."""
    missing = what_is_missing()
    if not missing:
        return
    # Taken out of the environment, so that the named one doesn't come here a second time.
    named = pathlib.Path(os.environ.pop("BRAID_FIXTURE_PYTHON", "") or os.devnull)
    interpreter = named / "bin" / "python" if named.is_dir() else named
    if interpreter.is_file():
        os.execv(interpreter, [str(interpreter), *sys.argv])
    print("fixture: needs " + ", ".join(missing))
    print("fixture: pip install -r tools/fixture-requirements.txt, in a virtual environment that "
          "BRAID_FIXTURE_PYTHON names")
    sys.exit(EXIT_SKIPPED if checking else 1)


class Draws:
    """Nearly normal numbers: sums of twelve 16-bit draws of a generator that never changes."""

    def __init__(self, seed):
        self.random = numpy.random.RandomState(seed)

    def normal(self, *shape, scale=1.0):
        draws = self.random.randint(0, 1 << 16, size=(*shape, 12), dtype=numpy.int64)
        centered = draws.sum(axis=-1) - 6 * ((1 << 16) - 1)
        return torch.from_numpy(centered * (scale / (1 << 16))).to(torch.float32)

    def bf16(self, *shape, scale=1.0):
        return self.normal(*shape, scale=scale).to(torch.bfloat16)


def network(draws, prefix, width, gain):
    """A gated network whose output has a root mean square near `gain` for inputs near 1."""
    return {
        f"{prefix}.gate_proj.weight": draws.bf16(width, HIDDEN, scale=HIDDEN**-0.5),
        f"{prefix}.up_proj.weight": draws.bf16(width, HIDDEN, scale=HIDDEN**-0.5),
        f"{prefix}.down_proj.weight": draws.bf16(HIDDEN, width, scale=2 * gain * width**-0.5),
    }


class Qwen3Moe:
    folder = "qwen3_moe_layer"
    config = QWEN3_MOE
    layer = 0
    seed = 20250101

    def weights(self, draws):
        # Logits near 0.8: even the lightest route weighs enough for its loss to be seen.
        weights = {"gate.weight": draws.bf16(EXPERTS, HIDDEN, scale=0.8 * HIDDEN**-0.5)}
        for expert in range(EXPERTS):
            weights |= network(draws, f"experts.{expert}", WIDTH, gain=2.0)
        return weights

    def module(self):
        from transformers.models.qwen3_moe.configuration_qwen3_moe import Qwen3MoeConfig
        from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeSparseMoeBlock
        return Qwen3MoeSparseMoeBlock(Qwen3MoeConfig(**self.config))

    def output(self, module, x):
        return module(x.unsqueeze(0))[0].squeeze(0)

    def selection(self, module, x):
        """What is chosen by, per expert, and the worst margin among groups."""
        scores = module.gate(x).softmax(dim=-1)
        return scores, torch.full((len(x),), float("inf"))

    def topk(self, module, x):
        weights, indices = self.selection(module, x)[0].topk(TOP_K, dim=-1)
        return indices, weights / weights.sum(dim=-1, keepdim=True)


class DeepseekV3:
    folder = "deepseek_v3_layer"
    config = DEEPSEEK_V3
    layer = 3
    seed = 20250202

    def weights(self, draws):
        weights = {
            "gate.weight": draws.bf16(EXPERTS, HIDDEN, scale=1.5 * HIDDEN**-0.5),
            # float32 as in real checkpoints, and large enough to change routes.
            "gate.e_score_correction_bias": draws.normal(EXPERTS, scale=0.1),
        }
        for expert in range(EXPERTS):
            weights |= network(draws, f"experts.{expert}", WIDTH, gain=1.0)
        return weights | network(draws, "shared_experts", WIDTH, gain=0.5)

    def module(self):
        from transformers.models.deepseek_v3.configuration_deepseek_v3 import DeepseekV3Config
        from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3MoE
        return DeepseekV3MoE(DeepseekV3Config(**self.config))

    def output(self, module, x):
        return module(x.unsqueeze(0)).squeeze(0)

    def selection(self, module, x):
        groups, kept = self.config["n_group"], self.config["topk_group"]
        corrected = (x @ module.gate.weight.T).sigmoid() + module.gate.e_score_correction_bias
        by_group = corrected.view(len(x), groups, -1)
        ranked = by_group.topk(2, dim=-1)[0].sum(dim=-1).sort(dim=-1, descending=True)
        margins = ranked[0][:, kept - 1] - ranked[0][:, kept]
        lost = torch.zeros(len(x), groups, dtype=torch.bool).scatter_(1, ranked[1][:, kept:], True)
        return by_group.masked_fill(lost.unsqueeze(-1), 0.0).flatten(1), margins

    def topk(self, module, x):
        indices, weights = module.gate(x)
        # The module leaves the order open; by descending score of choice is ours.
        order = self.selection(module, x)[0].gather(1, indices).argsort(dim=-1, descending=True)
        return indices.gather(1, order), weights.gather(1, order)


def margins_hold(style, module, x):
    """Which tokens are routed with room to spare."""
    scores, group_margins = style.selection(module, x)
    best = scores.topk(TOP_K + 1, dim=-1)[0]
    gaps = best[:, :-1] - best[:, 1:]
    # The least chosen score stays clear of zero, the score that experts of lost groups have.
    return ((gaps[:, -1] > MARGIN) & (group_margins > MARGIN) & (best[:, TOP_K - 1] > MARGIN)
            & (gaps.min(dim=-1)[0] > ORDER_MARGIN))


def choose_tokens(style, module, draws):
    candidates = draws.bf16(TOKENS * 32, HIDDEN)
    chosen = candidates[margins_hold(style, module, candidates.float())][:TOKENS]
    assert len(chosen) == TOKENS, f"only {len(chosen)} of the candidates have the margins"
    return chosen.contiguous()


def rms(x):
    return x.double().square().mean().sqrt().item()


def write_layer(style, root):
    folder = root / style.folder
    folder.mkdir(parents=True, exist_ok=True)
    draws = Draws(style.seed)
    weights = style.weights(draws)
    module = style.module().float().eval()
    module.load_state_dict({name: value.float() for name, value in weights.items()}, strict=True)
    hidden_states = choose_tokens(style, module, draws)
    x = hidden_states.float()
    output = style.output(module, x).contiguous()
    indices, topk_weights = style.topk(module, x)

    assert margins_hold(style, module, x).all()
    assert 0.9 < rms(x) < 1.1, f"the hidden states' root mean square is {rms(x)}"
    assert rms(output) >= MIN_OUTPUT_RMS, f"the output's root mean square is {rms(output)}"
    assert len(indices.unique()) == EXPERTS, "an expert has no token"

    prefix = f"model.layers.{style.layer}.mlp."
    save_file({prefix + name: value for name, value in weights.items()},
              folder / "model.safetensors", metadata={"format": "pt"})
    save_file({"hidden_states": hidden_states}, folder / "inputs.safetensors")
    save_file({"output": output, "topk_idx": indices.contiguous(),
               "topk_weights": topk_weights.contiguous()}, folder / "expected.safetensors")
    (folder / "config.json").write_text(json.dumps(style.config, indent=2) + "\n")
    for path in folder.iterdir():
        path.chmod(0o644)
    size = sum(path.stat().st_size for path in folder.iterdir())
    assert size <= MAX_BYTES, f"{style.folder} takes {size} bytes"
    print(f"fixture: {style.folder}: {size} bytes, output root mean square {rms(output):.3f}")


def compare_layer(style, root):
    """What differs between the layer under root and the committed one, in words."""
    wrong = []
    for name in ("config.json", "model.safetensors", "inputs.safetensors"):
        committed = ROOT / "data" / style.folder / name
        if (root / style.folder / name).read_bytes() != committed.read_bytes():
            wrong.append(f"{style.folder}/{name} differs")
    made = load_file(root / style.folder / "expected.safetensors")
    kept = load_file(ROOT / "data" / style.folder / "expected.safetensors")
    if made.keys() != kept.keys() or not torch.equal(made["topk_idx"], kept["topk_idx"]):
        return wrong + [f"{style.folder}/expected.safetensors has other routes"]
    for name in ("output", "topk_weights"):
        error = rms(made[name] - kept[name]) / rms(kept[name])
        print(f"fixture: {style.folder}: {name} differs by {error:.1e}")
        if not error <= TOLERANCE:
            wrong.append(f"{style.folder}/expected.safetensors: {name} differs by {error}")
    return wrong


def main():
    styles = [Qwen3Moe(), DeepseekV3()]
    with torch.no_grad():
        if not ARGUMENTS.check:
            for style in styles:
                write_layer(style, ROOT / "data")
            return 0
        wrong = []
        with tempfile.TemporaryDirectory() as folder:
            for style in styles:
                write_layer(style, pathlib.Path(folder))
                wrong += compare_layer(style, pathlib.Path(folder))
    for line in wrong:
        print(f"fixture: {line}")
    return 1 if wrong else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Writes or checks the layers of data/.")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    ARGUMENTS = parser.parse_args()
    find_interpreter_or_exit(ARGUMENTS.check)
    import numpy
    import torch
    from safetensors.torch import load_file, save_file
    sys.exit(main())
