"""The rows of layouts/columns-implicit.jsonl (lists of messages) as parquet, in the ways in which pyarrow and pandas can
write them; and files that cannot be read.

    pip install pyarrow pandas && python make_parquet.py

Writes parquet/NAME.parquet.
"""

import decimal
import json
import pathlib

import pyarrow as pa
import pyarrow.parquet as pq

HERE = pathlib.Path(__file__).parent
OUT = HERE / "parquet"


def cast(kind, text, items):
    """The same type with other kinds of text and of lists."""
    if pa.types.is_string(kind):
        return text
    if pa.types.is_list(kind):
        return items(cast(kind.value_type, text, items))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, cast(field.type, text, items)) for field in kind])
    return kind


def main():
    OUT.mkdir(exist_ok=True)
    with open(HERE / "layouts/columns-implicit.jsonl", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    table = pa.Table.from_pylist(rows)

    def write(name, table=table, **settings):
        pq.write_table(table, OUT / f"{name}.parquet", row_group_size=2, **settings)

    def as_types(text, items=pa.list_):
        schema = pa.schema([pa.field(field.name, cast(field.type, text, items)) for field in table.schema])
        return pa.Table.from_pylist(rows, schema=schema)

    for compression in ["gzip", "lz4", "zstd", "none"]:
        write(compression, compression=compression)
    write("pages-2", data_page_version="2.0", data_page_size=64, compression="gzip", use_dictionary=False)
    write("lists-of-item", use_compliant_nested_type=False)
    write("large", as_types(pa.large_string(), pa.large_list))
    write("binary", as_types(pa.binary()))
    table.to_pandas().to_parquet(OUT / "pandas.parquet", index=True)
    others = {
        "image": pa.array([{"bytes": b"\xff", "path": None}] * len(rows)),
        "when": pa.array([0] * len(rows), pa.timestamp("us")),
        "map": pa.array([[("a", 1)]] * len(rows), pa.map_(pa.string(), pa.int64())),
    }
    wide = table
    for name, column in others.items():
        wide = wide.append_column(name, column)
    write("other-columns", wide)

    # Unsupported compression; bytes that are not text; a column of 300 MB in a file of 10 kB.
    write("bad-brotli", compression="brotli")
    offsets = pa.array([0, 2, 4, 6], pa.int32()).buffers()[1]
    text = pa.Array.from_buffers(pa.string(), 3, [None, offsets, pa.py_buffer(b"ok\xff\xfeok")])
    write("bad-utf8", pa.table({"prompt": ["q", "r", "s"], "chosen": text, "rejected": ["a", "b", "c"]}))
    bytes_column = pa.array([b"ok", b"\xff\xfe", b"ok"])
    margins = pa.array([None, decimal.Decimal("2.5"), decimal.Decimal("-1.25")])
    half = {"prompt": ["q", "r", "s"], "chosen": bytes_column, "rejected": ["a", "b", "c"], "margin": margins}
    write("bad-bytes", pa.table(half))
    long = pa.table({"prompt": ["q"], "chosen": pa.array(["x" * (300 << 20)], pa.large_string()), "rejected": ["a"]})
    write("bad-bomb", long, compression="zstd", use_dictionary=False, write_statistics=False)


main()
