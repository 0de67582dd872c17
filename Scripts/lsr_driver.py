#!/usr/bin/env python3
"""Lacuna as an approach of lsr-benchmark, in the layout that it evaluates: run.txt.gz, index-metadata.yml and retrieval-metadata.yml.

    pip install lsr-benchmark==0.1.1 ir-datasets tirex-tracker
    Scripts/lsr_driver.py --dataset NAME --embedding MODEL --output DIRECTORY [--k 10] --lacuna PROGRAM [--exact]

The collection's own vectors are indexed and searched by the program, whose start is part of the time that is tracked. Without --exact
the index is Seismic's and is searched as --query-cut and --heap-factor say."""
import gzip, json, subprocess, tempfile
from pathlib import Path
from shutil import rmtree

import click
import ir_datasets
import lsr_benchmark
from lsr_benchmark.click import retrieve_command
from tirex_tracker import ExportFormat, register_metadata, tracking


def write(path, vectors):
    with open(path, "w") as f:
        for name, terms, weights in vectors:
            vector = {str(t): float(w) for t, w in zip(terms, weights) if w > 0}
            f.write(json.dumps({"id": str(name), "contents": "", "vector": vector}) + "\n")


@retrieve_command()
@click.option("--lacuna", default="lacuna", help="The program.")
@click.option("--exact", is_flag=True, help="An exact index instead of an approximate one.")
@click.option("--query-cut", type=int, default=10, help="Query terms whose lists are walked.")
@click.option("--heap-factor", type=float, default=0.8, help="Blocks below this part of the k-th best score are passed over.")
@click.option("--threads", type=int, default=1)
def main(dataset, embedding, output, k, lacuna, exact, query_cut, heap_factor, threads):
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    lsr_benchmark.register_to_ir_datasets(dataset)
    collection = ir_datasets.load(f"lsr-benchmark/{dataset}")
    setting = "exact" if exact else f"{query_cut}-{heap_factor}"
    register_metadata({"actor": {"team": "lacuna"}, "tag": f"lacuna-{embedding.replace('/', '-')}-{setting}-{k}"})
    with tempfile.TemporaryDirectory() as place:
        write(f"{place}/documents.jsonl", collection.doc_embeddings(model_name=embedding))
        write(f"{place}/queries.jsonl", collection.query_embeddings(model_name=embedding))

        def call(*arguments):
            subprocess.run([lacuna, *arguments, "--threads", str(threads), "--quiet"], check=True)

        with tracking(export_file_path=output / "index-metadata.yml", export_format=ExportFormat.IR_METADATA):
            call("index", "build", f"{place}/index", f"{place}/documents.jsonl", "--no-contents", *([] if exact else ["--seismic"]))
        with tracking(export_file_path=output / "retrieval-metadata.yml", export_format=ExportFormat.IR_METADATA):
            call("search", f"{place}/index", "--vectors", f"{place}/queries.jsonl", "--k", str(k), "--trust", "--output",
                 f"{place}/run", *([] if exact else ["--query-cut", str(query_cut), "--heap-factor", str(heap_factor)]))
        rmtree(output / ".tirex-tracker", ignore_errors=True)
        with open(f"{place}/run", "rb") as run, gzip.open(output / "run.txt.gz", "wb") as target:
            target.write(run.read())


if __name__ == "__main__":
    main()
