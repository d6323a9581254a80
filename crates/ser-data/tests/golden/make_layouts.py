"""Small files of every layout, from the schemas that the datasets publish, and the pairs that are in them.

    pip install pyarrow && python make_layouts.py

Writes layouts/NAME.jsonl and layouts/NAME.parquet (as Hugging Face's datasets store them) and layouts/expected.json, in
which a pair is its prompt, the better and the worse answer, the margin that the data names, and by how much the better
answer's score, rank or strength is over the other's.
"""

import json
import pathlib

import pyarrow
import pyarrow.parquet

import layout_rows as rows_of

OUT = pathlib.Path(__file__).parent / "layouts"

LAYOUTS = {
    "hh_rlhf": rows_of.hh_rlhf,
    "columns": rows_of.ultrafeedback_binarized,
    "columns-margin": rows_of.trl_margin,
    "columns-implicit": rows_of.trl_implicit,
    "ultra_feedback": rows_of.ultrafeedback,
    "tldr": rows_of.tldr,
    "stack_exchange": rows_of.stack_exchange,
    "stack_exchange_paired": rows_of.stack_exchange_paired,
    "llama_factory": rows_of.llama_factory,
    "pandalm": rows_of.pandalm,
    "autoj": rows_of.autoj,
    "reward_bench": rows_of.reward_bench,
    "reward_bench-2": rows_of.reward_bench_2,
    "shp": rows_of.shp,
    "help_steer-2": rows_of.help_steer_2,
    "help_steer-3": rows_of.help_steer_3,
    "nectar": rows_of.nectar,
    "pku_safe_rlhf": rows_of.pku_safe_rlhf,
    "pku_safe_rlhf_safer": rows_of.pku_safe_rlhf_safer,
    "webgpt": rows_of.webgpt,
    "lmsys_arena": rows_of.lmsys_arena,
    "lmsys_arena-conversations": rows_of.lmsys_arena_conversations,
    "openai_preference": rows_of.openai_preference,
    "ms_swift": rows_of.ms_swift,
    "medical_gpt": rows_of.medical_gpt,
    "llama_factory-outputs": rows_of.llama_factory_outputs,
}


def main():
    OUT.mkdir(exist_ok=True)
    expected = {}
    for name, make in LAYOUTS.items():
        rows, pairs = zip(*(make(i) for i in range(5)))
        with open(OUT / f"{name}.jsonl", "w", encoding="utf-8") as file:
            for row in rows:
                file.write(json.dumps(row) + "\n")
        table = pyarrow.Table.from_pylist(list(rows))
        pyarrow.parquet.write_table(table, OUT / f"{name}.parquet", row_group_size=2)
        expected[name] = [
            {"prompt": prompt, "chosen": chosen, "rejected": rejected, "margin": margin, "gap": gap[0] if gap else None}
            for row in pairs
            for prompt, chosen, rejected, margin, *gap in row
        ]
    with open(OUT / "expected.json", "w", encoding="utf-8") as file:
        json.dump(expected, file, indent=1, ensure_ascii=False)
        file.write("\n")


main()
