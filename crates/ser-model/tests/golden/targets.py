#!/usr/bin/env python3
"""Which projections of a 12-layer decoder PEFT gives an adapter: targets.json, a list of settings with the modules that
PEFT's check_target_module_exists picks.

  pip install peft==0.21.2
  python targets.py
"""
import json, pathlib

from peft import LoraConfig
from peft.tuners.tuners_utils import check_target_module_exists

ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
MODULES = [f"model.layers.{i}.{'self_attn' if name in ATTENTION else 'mlp'}.{name}"
           for i in range(12) for name in ATTENTION + ["gate_proj", "up_proj", "down_proj"]]
SETTINGS = [
    {"target_modules": ["q_proj", "v_proj"]},
    {"target_modules": ["layers.1.self_attn.q_proj", "mlp.up_proj"]},
    {"target_modules": r".*\.(?!q_proj)[a-z]_proj"},
    {"target_modules": r"(?!.*\.(?:0|11)\.).*(?<=self_attn\.)[qv]_proj"},
    {"target_modules": r"^(?!.*vision).*\.(?:\d|1[01])\.self_attn\.(?:q|k|v|o)_proj$"},
    {"target_modules": r"model\.layers\.(\d)\.mlp\.(up|down)_proj"},
    {"target_modules": r"(?:.*?(?:language|text).*?(?:self_attn|mlp).*?(?:q_proj|k_proj).*?)"
                       r"|(?:\bmodel\.layers\.[\d]{1,}\.(?:self_attn|mlp)\.(?:(?:q_proj|k_proj|down_proj)))"},
    {"target_modules": ["q_proj", "v_proj"], "layers_to_transform": [0, 3, 11]},
    {"target_modules": ["q_proj", "model.layers.5.mlp.up_proj"], "layers_to_transform": [1]},
    {"target_modules": ["self_attn.q_proj"], "layers_to_transform": [2], "layers_pattern": ["layers"]},
    {"target_modules": ["q_proj"], "layers_to_transform": [2, 4], "layers_pattern": ["h", "lay.rs"]},
    {"target_modules": ["q_proj", "k_proj"], "layers_to_transform": [2], "layers_pattern": ["h"]},
    {"target_modules": ["q_proj", "v_proj", "o_proj"], "exclude_modules": ["o_proj", "layers.1.self_attn.q_proj"]},
    {"target_modules": ["q_proj"], "exclude_modules": r".*\.(?:[0-5])\..*"},
    {"target_modules": ["q_proj", "mlp.down_proj"], "exclude_modules": ["self_attn"]},
    {"target_modules": r".*_proj", "exclude_modules": r".*mlp.*"},
    {"target_modules": ["q_proj"], "exclude_modules": ["v_proj"], "layers_to_transform": [7]},
]

cases = []
for settings in SETTINGS:
    config = LoraConfig(**settings)
    found = [name for name in MODULES if bool(check_target_module_exists(config, name))
             and type(check_target_module_exists(config, name)).__name__ != "_ExcludedModule"]
    cases.append({"settings": settings, "targets": found})
out = pathlib.Path(__file__).with_name("targets.json")
out.write_text("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")
