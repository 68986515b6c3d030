"""The adapters of detectors, on tiny random models that are made here."""

import json
import re
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperclip_jax.data.ground import detect, grounding_dino

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

WORDS = (
  *("dog", "cat", "in", "field", "of", "flowers", "red", "st", "mary"),
  *("and", "the", "one", "two", "three"),
)
PHRASES = [
  ["a dog", "St. Mary?", "flowers"],
  ["a cat"],
  [],
  ["the Field of flowers", "...", "a red dog", "two"],
]


def picture(seed, height, width):
  rng = np.random.default_rng(seed)
  return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


PICTURES = [
  picture(i, *size) for i, size in enumerate([(48, 64), (64, 48)] * 2)
]


def bert_tokenizer():
  """A tokenizer whose separators have BERT's ids, which the model expects."""
  names = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]"}
  names |= {1012: ".", 1029: "?", **dict(enumerate(WORDS, 1050))}
  names |= {1100 + i: letter for i, letter in enumerate("abcdefghijklmnop")}
  vocab = {names.get(i, f"[unused{i}]"): i for i in range(1130)}
  return transformers.BertTokenizerFast(vocab=vocab, do_lower_case=True)


def make_dino(folder, kind):
  torch.manual_seed(0)
  text = transformers.BertConfig(
    vocab_size=1130,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=32,
    max_position_embeddings=256,
  )
  backbone = transformers.SwinConfig(
    window_size=7,
    embed_dim=8,
    depths=[1, 1, 1, 1],
    num_heads=[1, 1, 1, 1],
    image_size=64,
    out_features=["stage2", "stage3", "stage4"],
    out_indices=[2, 3, 4],
  )
  config = transformers.AutoConfig.for_model(
    kind,
    backbone_config=backbone,
    text_config=text,
    d_model=32,
    encoder_layers=2,
    decoder_layers=2,
    encoder_attention_heads=2,
    decoder_attention_heads=2,
    encoder_ffn_dim=32,
    decoder_ffn_dim=32,
    num_queries=20,
    encoder_n_points=2,
    decoder_n_points=2,
  )
  model = transformers.AutoModelForZeroShotObjectDetection.from_config(config)
  model.eval().save_pretrained(folder)
  bert_tokenizer().save_pretrained(folder)
  image = {
    "image_processor_type": "GroundingDinoImageProcessor",
    "size": {"shortest_edge": 64, "longest_edge": 96},
  }
  named = {
    "processor_class": "GroundingDinoProcessor",
    "image_processor": image,
  }
  (folder / "processor_config.json").write_text(json.dumps(named))
  return model


def clip_tokenizer():
  letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
  tokens = ["!", *letters, *(f"{c}</w>" for c in letters)]
  tokens += ["<|startoftext|>", "<|endoftext|>"]
  vocab = {token: i for i, token in enumerate(tokens)}
  return transformers.CLIPTokenizerFast(
    vocab=vocab,
    merges=[],
    pad_token="!",
    unk_token="<|endoftext|>",
    model_max_length=16,
  )


def make_owl(folder, kind):
  torch.manual_seed(0)
  tower = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
  }
  config = transformers.AutoConfig.for_model(
    kind,
    text_config=tower
    | {
      "vocab_size": 60,
      "bos_token_id": 53,
      "eos_token_id": 54,
      "pad_token_id": 0,
    },
    vision_config=tower | {"image_size": 64, "patch_size": 16},
    projection_dim=32,
  )
  model = transformers.AutoModelForZeroShotObjectDetection.from_config(config)
  model.eval().save_pretrained(folder)
  clip_tokenizer().save_pretrained(folder)
  name = {"owlv2": "Owlv2", "owlvit": "OwlViT"}[kind]
  image = {
    "image_processor_type": f"{name}ImageProcessor",
    "size": {"height": 64, "width": 64},
  }
  named = {"processor_class": f"{name}Processor", "image_processor": image}
  (folder / "processor_config.json").write_text(json.dumps(named))
  return model


@pytest.fixture(scope="module")
def models(tmp_path_factory):
  """A model of each kind: its folder, the model as made, and the detector."""
  found = {}
  for kind in detect.KINDS:
    folder = tmp_path_factory.mktemp(kind)
    make = make_owl if kind.startswith("owl") else make_dino
    model = make(folder, kind)
    loaded = detect.load(detect.find(str(folder)), "cpu", 4, "max")
    found[kind] = folder, model, loaded
  return found


@pytest.mark.parametrize("kind", detect.KINDS)
def test_boxes_and_scores_are_those_of_the_model(models, kind):
  """Bit by bit those of the model before it was saved, run on one image."""
  folder, model, loaded = models[kind]
  image, phrases = (
    picture(9, *((64, 64) if "owl" in kind else (64, 96))),
    ["a dog", "flowers", "the red cat"],
  )
  processor = transformers.AutoProcessor.from_pretrained(folder)
  inputs = processor(images=image, text=[phrases], return_tensors="pt")
  with torch.inference_mode():
    wanted = model(**inputs)
  (found,) = loaded([image], [phrases])
  x, y, w, h = wanted.pred_boxes[0].numpy().T
  boxes = np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], axis=1)
  assert (found.boxes == boxes).all()
  scores = wanted.logits[0].sigmoid().numpy()
  if "dino" in kind:
    tokens = processor.tokenizer.convert_ids_to_tokens(inputs["input_ids"][0])
    assert " ".join(tokens) == ("[CLS] a dog . flowers . the red cat . [SEP]")
    scores = np.stack(
      [scores[:, s].max(1) for s in (slice(1, 3), slice(4, 5), slice(6, 9))], 1
    )
    mean = detect.load(detect.find(str(folder)), "cpu", 4, "mean")
    means = mean([image], [phrases])[0].scores
    assert (means < scores)[:, [0, 2]].all()
    assert (means == scores)[:, 1].all()
  assert (found.scores == scores).all()


@pytest.mark.parametrize("kind", ["grounding-dino", "owlv2"])
def test_images_of_a_batch_do_not_touch_each_other(models, kind):
  """Neither do their numbers of phrases, nor other shapes of images."""
  _, _, loaded = models[kind]
  together = loaded(PICTURES, PHRASES)
  for image, phrases, found in zip(PICTURES, PHRASES, together, strict=True):
    (alone,) = loaded([image], [phrases])
    assert found.scores.shape == alone.scores.shape
    assert found.scores.shape[1] == len(phrases)
    np.testing.assert_allclose(found.boxes, alone.boxes, atol=1e-5)
    np.testing.assert_allclose(found.scores, alone.scores, atol=1e-5)
  assert not len(together[2].boxes)


@pytest.mark.parametrize("kind", ["owlv2", "owlvit"])
def test_boxes_are_fractions_of_an_image_of_any_shape(models, kind):
  """As the library scales them to pixels, for the same image."""
  folder, model, loaded = models[kind]
  processor = transformers.AutoProcessor.from_pretrained(folder)
  image, phrases = picture(9, 48, 96), ["a dog", "flowers"]
  inputs = processor(images=image, text=[phrases], return_tensors="pt")
  with torch.inference_mode():
    outputs = model(**inputs)
  (wanted,) = processor.post_process_grounded_object_detection(
    outputs, threshold=-1.0, target_sizes=[(48, 96)]
  )
  (found,) = loaded([image], [phrases])
  np.testing.assert_allclose(
    found.boxes * [96, 48, 96, 48], wanted["boxes"].numpy(), rtol=1e-5
  )


@pytest.mark.parametrize("kind", ["grounding-dino", "owlv2"])
def test_long_phrases_are_cut_not_refused(models, kind):
  _, _, loaded = models[kind]
  (found,) = loaded(PICTURES[:1], [["dog " * 300, "a cat"]])
  assert (found.scores > 0).any(axis=0).tolist() == [True, True]


def test_a_phrase_of_signs_has_no_score(models):
  _, _, loaded = models["grounding-dino"]
  found, none = loaded(PICTURES[:2], [["...", "a dog"], ["?.."]])
  assert (found.scores > 0).any(axis=0).tolist() == [False, True]
  assert none.scores.shape == (0, 1)


def test_more_phrases_than_fit_one_text_are_split(models):
  """None is cut, and those of a later text have the scores of that text."""
  _, _, loaded = models["grounding-dino"]
  phrases = [f"a {WORDS[i % len(WORDS)]}" for i in range(90)]
  (found,) = loaded(PICTURES[:1], [phrases])
  assert found.boxes.shape == (40, 4)
  assert (found.scores > 0).any(axis=0).all()
  texts = grounding_dino.prompts(phrases, bert_tokenizer(), 256)
  later = [phrases[i] for i in texts[1].spans]
  (alone,) = loaded(PICTURES[:1], [later])
  first = len(phrases) - len(later)
  np.testing.assert_allclose(found.scores[20:, first:], alone.scores, atol=1e-5)
  assert not found.scores[20:, :first].any()


@settings(max_examples=60, deadline=None)
@given(
  st.lists(
    st.lists(st.sampled_from([*WORDS, "St.", "U.S.", "[SEP]", "é", "İ", "?"]))
    .map(" ".join)
    .filter(str.strip),
    max_size=90,
  )
)
def test_prompts_hold_each_phrase_once_and_no_separator_in_one(phrases):
  tokenizer = bert_tokenizer()
  room = 24
  found = grounding_dino.prompts(phrases, tokenizer, room)
  numbers = [number for prompt in found for number in prompt.spans]
  assert numbers == sorted(set(numbers))
  for number, phrase in enumerate(phrases):
    letters = any(letter.isalpha() for letter in phrase)
    assert (number in numbers) == letters
  for prompt in found:
    ids = tokenizer(prompt.text)["input_ids"]
    assert len(ids) <= room
    assert ids.count(1012) == len(prompt.spans)
    assert ids.count(102) == 1
    assert 1029 not in ids
    for number, (start, end) in prompt.spans.items():
      wanted = re.sub(r"[.?\[\]\s]+", " ", phrases[number]).strip().lower()
      assert wanted.startswith(prompt.text[start:end])
      assert prompt.text[end] == "."


def test_sizes_keep_the_shape_up_to_a_grid():
  assert grounding_dino.rounded(640, 480, 800, 1333) == (1056, 800)
  assert grounding_dino.rounded(480, 640, 800, 1333) == (800, 1056)
  assert grounding_dino.rounded(4000, 500, 800, 1333) == (1312, 160)
  assert grounding_dino.rounded(1, 1000, 800, 1333) == (32, 1312)


def test_other_models_are_named(tmp_path):
  with pytest.raises(ValueError, match=r"--detector=.*: no config\.json"):
    detect.find(str(tmp_path / "none"))
  (tmp_path / "config.json").write_text('{"model_type": "bert"}')
  with pytest.raises(ValueError, match="is a bert; want one of grounding-dino"):
    detect.find(str(tmp_path))
  (tmp_path / "config.json").write_text('{"model_type": "owlvit"}')
  model = detect.find(str(tmp_path))
  assert model.kind.threshold == 0.1
  with pytest.raises(ValueError, match=r"--detector=.*: not loaded"):
    detect.load(model, "cpu", 1, "max")


def test_missing_transformers_is_named_with_the_extra(monkeypatch):
  monkeypatch.setitem(sys.modules, "transformers", None)
  with pytest.raises(ModuleNotFoundError, match=r"hyperclip-jax\[ground\]"):
    detect.find("x")
