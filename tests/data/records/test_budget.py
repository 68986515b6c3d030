import threading

from hyperclip_jax.data.records.budget import Budget


def test_no_more_than_the_total_is_held_at_one_time():
  budget, held, most = Budget(10), [], []
  guard = threading.Lock()

  def work(count):
    with budget.taken(count):
      with guard:
        held.append(count)
        most.append(sum(held))
      with guard:
        held.remove(count)

  counts = [1, 2, 3, 4, 5, 6] * 20
  threads = [threading.Thread(target=work, args=(n,)) for n in counts]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join(10)
  assert len(most) == len(counts)
  assert max(most) <= 10


def test_more_than_all_is_all():
  budget = Budget(10)
  with budget.taken(99):
    pass
  with budget.taken(10):
    pass


def test_an_error_gives_its_share_back():
  budget = Budget(10)
  try:
    with budget.taken(10):
      raise KeyError
  except KeyError:
    pass
  with budget.taken(10):
    pass
