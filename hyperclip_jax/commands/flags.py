"""The commands, and the flags of each.

All of it is here, apart from what the commands do, so that a flag is checked
and a help text is printed before anything heavy is imported.
"""

from collections.abc import Sequence
from typing import NamedTuple

from hyperclip_jax.commands.parser import Flag, number, one_of, path, whole


class Command(NamedTuple):
  """A command of `hyperclip`.

  Attributes:
    purpose: what it does, in a line without a subject.
    work: "module:function" in `hyperclip_jax.commands`; the function takes the
      values of the flags and returns the exit code, or None for 0.
    flags: in the order of the help text.
    overrides: values of a run's config that `--config.NAME=VALUE` may set;
      None for all.
    details: rest of the help text.
    words: name of the flag that also takes arguments without a flag.
  """

  purpose: str
  work: str
  flags: Sequence[Flag]
  overrides: Sequence[str] | None = ()
  details: str = ""
  words: str = ""


_MODEL = Flag(
  "model",
  "a workdir, a folder of save_pretrained, a published name such as "
  "hycoclip-vit-b, hf-hub:org/name or a .pth",
  "MODEL",
  needed=True,
)
_TRUST = Flag(
  "trust_system",
  "import the model's system though it is a module of another package",
)
_WORKDIR = Flag("workdir", "folder of the run", "DIR", path, needed=True)
_SHARDS = Flag(
  "shards", "tars, or globs of them", "GLOB", needed=True, many=True
)


def _output(purpose: str, form: str = "DIR") -> Flag:
  return Flag("output", purpose, form, path, needed=True)


def _list(name: str, purpose: str, needed: bool = False) -> Flag:
  return Flag(name, purpose, "LIST", needed=needed, many=True)


# Flags that launchers add.
_PROCESSES = (
  Flag(
    "coordinator",
    "address of process 0 of several; 'auto': from the environment",
    "HOST:PORT",
  ),
  Flag("processes", "number of processes", "N", whole(1)),
  Flag("process", "number of this process, from 0", "I", whole(0)),
  Flag(
    "stopped_code",
    "exit code when a signal has stopped the command, to be run again",
    "CODE",
    whole(0),
  ),
)

# flags of classify, search, traverse and encode
_TOP = Flag("top", "number of answers", "N", whole(1), default=5)
_READ = (
  Flag(
    "vision_heads",
    "attention heads of the image tower of a .pth of unpublished width",
    "N",
    whole(1),
  ),
  Flag("text_heads", "attention heads of its text tower", "N", whole(1)),
  _TRUST,
)
_LOAD = (
  Flag("strict", "end with exit code 1 if an image was left out"),
  Flag("batch_size", "most inputs on a device at once", "N", whole(1), 64),
  Flag(
    "dtype",
    "dtype of the towers (as in training)",
    "float32|bfloat16",
    one_of("float32", "bfloat16"),
  ),
  *_READ,
)
_USE = (Flag("json", "print JSON"), *_LOAD, *_PROCESSES)
_LISTS = (
  "In a LIST, commas separate values and double quotes keep a comma, as in "
  "--labels='\"a dog, sitting\",a cat'. @FILE stands for the lines of a file, "
  "and a flag may be repeated."
)


_CONFIG = Flag(
  "config",
  "config: the name of one of the package, or FILE.py; after a colon its "
  "argument, as in grit_vitb:meru",
  "FILE",
  needed=True,
)
_TRAIN = (
  _CONFIG._replace(
    purpose=f"{_CONFIG.purpose} (of a run in the workdir, its own)",
    needed=False,
  ),
  _WORKDIR._replace(purpose="folder of the run; an existing run is resumed"),
  Flag("extend", "train a run on, to N steps in all", "N", whole(1)),
  Flag("verbose", "print all terms of the loss with every line of progress"),
  Flag("dry_run", "print sizes and costs, read a batch, take one step, exit"),
  *_PROCESSES,
)

_ON_BAD_SHARD = Flag(
  "on_bad_shard",
  "what to do about a damaged input",
  "fail|skip",
  one_of("fail", "skip"),
  "fail",
)

_PREPARE = (
  Flag(
    "input",
    "tars, JSONs and tables, or globs of them; folders of images by class; "
    "tfds:NAME:SPLIT",
    "GLOB",
    many=True,
  ),
  Flag("output", "output folder; an interrupted run is resumed", "DIR", path),
  Flag("verify", "check a prepared folder, and exit", "DIR", path),
  Flag(
    "images",
    "folder of a JSON's or table's images (its own), or of TFDS's data sets",
    "DIR",
    path,
  ),
  Flag("crops", "store a crop for each part, too"),
  Flag("require_boxes", "drop records without parts"),
  Flag(
    "boxes",
    "unit of the boxes: fractions, percent, thousandths or pixels (fractions; "
    "pixels in a JSON)",
    "UNIT",
    one_of("fractions", "percent", "thousandths", "pixels"),
    default="",
  ),
  Flag(
    "box_format",
    "two corners, or a corner and sides (xyxy; xywh in a JSON)",
    "xyxy|xywh",
    one_of("xyxy", "xywh"),
    default="",
  ),
  Flag("upright", "turn images as EXIF says: boxes refer to upright images"),
  Flag("min_side", "smallest side of a box in pixels", "N", whole(0), 32),
  Flag(
    "long_side",
    "longest side of the stored images in pixels",
    "N",
    whole(0),
    512,
  ),
  Flag("quality", "quality of the JPEGs", "N", whole(0), 92),
  Flag(
    "shard_size",
    "images in a shard, of what is not a tar",
    "N",
    whole(0),
    10_000,
  ),
  _ON_BAD_SHARD,
  Flag("jobs", "processes (one per core)", "N", whole(1)),
  Flag("beam_args", "make the shards with Beam: '--runner=... ...'", "FLAGS"),
)

_GROUND = (
  Flag(
    "input",
    "tars, tables (csv, tsv, parquet) and JSONs, folders or globs of them",
    "GLOB",
    many=True,
  ),
  Flag("output", "output folder; an interrupted run is resumed", "DIR", path),
  Flag("detector", "folder of a detector, or org/name on the hub", "MODEL"),
  Flag("spacy_model", "English parser: an installed name, or a folder", "NAME"),
  Flag("verify", "check a grounded folder, and exit", "DIR", path),
  Flag("images", "folder of a table's or JSON's images (its own)", "DIR", path),
  Flag("threshold", "score of the boxes to keep (by detector)", "X", number),
  Flag("nms_iou", "overlap from which boxes are dropped", "X", number, 0.5),
  Flag("min_side", "smallest side of a box in pixels", "N", whole(0), 32),
  Flag("drop_contained", "drop expressions within others, as in the paper"),
  Flag(
    "tokens",
    "score of a phrase from those of its tokens (Grounding DINO)",
    "max|mean",
    one_of("max", "mean"),
    "max",
  ),
  Flag("abstract", "list of nouns to leave out (the package's)", "FILE", path),
  Flag("batch_size", "images that the detector takes", "N", whole(1), 8),
  Flag("device", "device of torch (a GPU if there is one)", "NAME", str, ""),
  Flag("worker", "number of this worker, from 0, of all", "I/N", str, "0/1"),
  Flag("jobs", "processes that parse (the cores but one)", "N", whole(1)),
  Flag(
    "shard_size",
    "rows of a table, or images of a JSON, in a shard",
    "N",
    whole(0),
    10_000,
  ),
  _ON_BAD_SHARD,
  Flag(
    "review", "write a page to mark N boxes as right or wrong", "N", whole(1)
  ),
  Flag("beam_args", "make the shards with Beam: '--runner=... ...'", "FLAGS"),
)

_GENERATED = (
  _output("folder to create"),
  Flag("image_size", "side of the images in pixels", "N", whole(1), 64),
  Flag("seed", "seed of all random numbers", "N", whole(0), 0),
  Flag("shard_size", "records per tar", "N", whole(1), 2_048),
)
_SHAPES = (
  *_GENERATED,
  Flag("train", "scenes to train on", "N", whole(0), 10_240),
  Flag("val", "scenes of all classes", "N", whole(0), 512),
  Flag("objects", "scenes of one object", "N", whole(0), 960),
)
_EMOJI = (
  *_GENERATED,
  Flag(
    "packages",
    "folder where `npm pack` left the packages",
    "DIR",
    path,
    needed=True,
  ),
  Flag("train", "scenes to train on", "N", whole(0), 32_768),
  Flag("val", "scenes of the unseen vendor", "N", whole(0), 1_024),
  Flag("wordnet", "folder of WordNet 3.0, for more general nouns", "DIR", path),
  Flag("openmoji", "also trains on OpenMoji, which needs the extra `emoji`"),
)

COMMANDS = {
  "train": Command(
    "trains a model, or resumes a run",
    "train:train",
    _TRAIN,
    overrides=None,
    details=(
      "--config.NAME=VALUE sets a value of the config; --help together with "
      "--config=FILE lists those of that file. To take a finished run on, its "
      "learning rate by the schedule of the new length:\n"
      "hyperclip train --workdir=DIR --extend=600000"
    ),
  ),
  "eval": Command(
    "evaluates the newest checkpoint of a run and rewrites its report",
    "train:evaluate",
    (_WORKDIR, _TRUST, *_PROCESSES),
    # only paths of the data may change
    overrides=(
      "data.held_out",
      "data.index_folder",
      "data.labelled",
      "data.min_side",
      "data.on_bad_shard",
      "data.shards",
      "shapes.folder",
    ),
    details=(
      "If the data of the run have moved, give their new place: "
      "--config.shapes.folder=DIR, --config.data.held_out=GLOB or "
      "--config.data.shards=GLOB."
    ),
  ),
  "verify": Command(
    "checks the checkpoints of a run for damage",
    "train:verify",
    (_WORKDIR, *_PROCESSES),
  ),
  "classify": Command(
    "finds the likeliest labels of images",
    "use:classify",
    (
      _MODEL,
      _list("images", "paths and globs of images", needed=True),
      _list("labels", "names of the classes", needed=True),
      _list("templates", "prompts, each with {} for the name")._replace(
        default=["a photo of a {}."]
      ),
      _TOP,
      *_USE,
    ),
    details=_LISTS,
  ),
  "search": Command(
    "finds the nearest texts or images to a query",
    "use:search",
    (
      _MODEL,
      _list("query", "texts to search for"),
      _list("query_images", "images to search for"),
      _list("texts", "texts to search in"),
      _list("images", "images to search in"),
      Flag(
        "index",
        "index to write from these, or to read if none are given",
        "FILE",
      ),
      _TOP,
      *_USE,
    ),
    details=_LISTS,
  ),
  "traverse": Command(
    "walks from an image to the root, or to another image",
    "use:traverse",
    (
      _MODEL,
      _list("images", "paths and globs of images", needed=True),
      Flag("to", "end of the walks: root, or an image", "FILE", str, "root"),
      _list("texts", "texts to look up along the walk"),
      Flag(
        "index",
        "index to write from the texts, or to read if none are given",
        "FILE",
      ),
      Flag("steps", "number of points on a walk", "N", whole(2), 50),
      *_USE,
    ),
    details=_LISTS,
  ),
  "encode": Command(
    "writes the embeddings of many images or texts to a file",
    "use:encode",
    (
      _MODEL,
      _list("images", "paths and globs of images, of folders and of tars"),
      _list("texts", "texts"),
      _output("file to write: .npy, .npz or .parquet", "FILE"),
      *_LOAD,
    ),
    details=(
      f"{_LISTS}\n"
      "Runs on all devices of this machine. The same command resumes a killed "
      "one, from parts beside the output."
    ),
  ),
  "export": Command(
    "writes the towers of a model as ONNX files",
    "use:export",
    (_MODEL, _output("folder for image.onnx and text.onnx"), *_READ),
    details="docs/serving.md describes the files. Needs the extra `onnx`.",
  ),
  "evals": Command(
    "measures models on public data sets, as the papers do",
    "evals:evals",
    (
      _MODEL._replace(
        purpose=f"{_MODEL.purpose}; several are set side by side", many=True
      ),
      Flag("data", "folder that holds the data sets", "DIR", path, needed=True),
      _output("folder for the results"),
      Flag("tasks", "names of tasks joined by commas", "NAMES", str, "all"),
      _TRUST,
      *_PROCESSES,
    ),
    details=(
      "Writes results.json, results.md and results.html, with the numbers of "
      "the papers for comparison; of several models, also of each in a folder "
      "of its own. The same command resumes an interrupted one. "
      "docs/evaluation.md lists the tasks and the layouts of their data."
    ),
  ),
  "demo": Command(
    "opens a local page to explore pictures with a model",
    "demo:demo",
    (
      _MODEL,
      Flag("index", "index that the model made", "FILE", path),
      Flag(
        "pictures",
        "folder of the index's pictures, which may be shown (the index's own)",
        "DIR",
        path,
      ),
      Flag("port", "port to serve at", "N", whole(0), 7860),
      Flag(
        "host",
        "address to serve at; 0.0.0.0 serves everyone who reaches the machine",
        "HOST",
        str,
        "127.0.0.1",
      ),
      Flag("share", "make a public link, through a server of gradio"),
      _TRUST,
    ),
    details=(
      "The page is served to this machine only, unless --host or --share says "
      "otherwise: to see one that runs on HOST, ssh -L 7860:localhost:7860 "
      "HOST. Needs the extra `demo`."
    ),
  ),
  "embed": Command(
    "embeds a hierarchy, such as WordNet's nouns",
    "embed:embed",
    (
      _CONFIG._replace(
        purpose="config: the name of one of the package, or FILE.py"
      ),
      _WORKDIR._replace(purpose="folder of the embedding, also to go on with"),
    ),
    overrides=None,
    details=(
      "hyperclip embed --config=configs/wordnet_mammals.py --workdir=DIR\n"
      "--config.edges=FILE.csv embeds another hierarchy, whose rows are a node "
      "and one of its parents; --config.root= takes all of it. The same "
      "command resumes an interrupted one."
    ),
  ),
  "prepare": Command(
    "makes clean, indexed shards of grounded data",
    "prepare:prepare",
    _PREPARE,
    details=(
      "hyperclip prepare --input 'raw/*.tar' --output prepared\n"
      "hyperclip prepare --verify prepared\n"
      "Inputs are raw GRIT tars (with img2dataset's parquet files if these "
      "hold the boxes), HyCoCLIP's processed tars, grounded JSONs, "
      "and tables of image files and captions; "
      "docs/data.md says what is left out. The same command resumes an "
      "interrupted one."
    ),
  ),
  "ground": Command(
    "finds boxes for the phrases of captions, and writes raw GRIT tars",
    "ground:ground",
    _GROUND,
    details=(
      "hyperclip ground --input pairs.csv --output grounded --detector MODEL "
      "--spacy_model NAME\n"
      "Needs the extra `ground`. Start one worker for each GPU with --worker. "
      "docs/grounding.md compares detectors and explains how to choose a "
      "threshold with --review. The same command resumes an interrupted one."
    ),
  ),
  "index": Command(
    "builds the offset indices of tars ahead of their first use",
    "index:index",
    (
      _SHARDS,
      Flag("folder", "folder for the indices (beside the tars)", "DIR", path),
    ),
  ),
  "report": Command(
    "writes a page that compares runs, or about the content of a data set",
    "report:report",
    (
      Flag("runs", "workdirs of runs to compare", "DIR", many=True),
      _SHARDS._replace(needed=False),
      Flag("output", "HTML file to write (comparison.html)", "FILE", path),
      Flag(
        "limit", "largest number of records to sample", "N", whole(1), 20_000
      ),
      Flag("seed", "seed of the sample", "N", whole(0), 0),
      Flag(
        "min_side",
        "smallest side of a raw record's box in pixels",
        "N",
        whole(0),
        32,
      ),
      _TRUST,
    ),
    details=(
      "hyperclip report RUN RUN RUN\n"
      "hyperclip report --shards=GLOB --output=FILE"
    ),
    words="runs",
  ),
  "shapes": Command(
    "writes the embedded data set of coloured shapes",
    "embedded:shapes",
    _SHAPES,
  ),
  "digits": Command(
    "writes scikit-learn's handwritten digits as captioned tars",
    "embedded:digits",
    (
      _output("output folder"),
      Flag(
        "imbalance",
        "size of the rarest class over that of the most frequent one",
        "X",
        number,
        1.0,
      ),
    ),
    details="Needs the extra `digits`.",
  ),
  "photos": Command(
    "writes eight annotated photographs as a raw GRIT shard",
    "embedded:photos",
    (_output("output folder"),),
    details="Needs the extra `photos`.",
  ),
  "emoji": Command(
    "writes scenes of emoji, drawn by several vendors",
    "embedded:emoji",
    _EMOJI,
    details=(
      "hyperclip emoji --packages npm --output data/emoji\n"
      "In the folder npm, fetch the packages by\n"
      "npm pack emoji-datasource-google@16.0.0 emoji-datasource-twitter@16.0.0 "
      "@lobehub/fluent-emoji-3d@1.1.0 openmoji@17.0.0"
    ),
  ),
}
