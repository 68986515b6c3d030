import pytest

from hyperclip_jax.evals import catalog
from hyperclip_jax.evals.tasks import MissingData
from tests.evals import data_sets
from tests.evals.data_sets import annotation
from tests.evals.pictures import GREEN, RED


def test_names_are_unique():
  names = [task.name for task in catalog.TASKS]
  assert len(set(names)) == len(names)


@pytest.mark.parametrize("task", catalog.TASKS, ids=lambda task: task.name)
def test_each_says_what_it_lacks(make_model, tmp_path, task):
  with pytest.raises(MissingData, match="Get it from") as error:
    task.run(make_model(), tmp_path)
  folder = error.value.layout.partition("/")[0]
  assert folder in (task.name, "coco", "flickr30k", "grounded", "imagenet")


def test_data_lie_in_a_folder_of_their_own(make_model, tmp_path):
  boxes = [annotation(1, 1, 17, [0, 0, 4, 4]), annotation(2, 2, 18, [0] * 4)]
  categories = {17: "cat", 18: "dog"}
  data_sets.coco(tmp_path / "coco", [RED, GREEN], categories, boxes)
  table = {"a photo of a cat.": (1, 0, 0), "a photo of a dog.": (0, 1, 0)}
  (task,) = catalog.choose("coco_multi_label")
  result = task.run(make_model(table=table), tmp_path)
  assert result == {"map": 1.0, "images": 2.0, "classes": 2.0}
