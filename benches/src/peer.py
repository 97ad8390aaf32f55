"""The work of `ray-bench core` on Python's Ray. Arguments: repeats, then the metrics. Prints one JSON object a line.

Rows that make no sense there are left out: work in the driver's process, a million queued tasks or actors,
CPU-bound work (an interpreter's loop is other work). Ray has one kind of worker: its figure stands beside the `_process`
row. Needs ray and numpy; uses Ray's defaults.
"""

import json
import os
import signal
import statistics
import sys
import time

import numpy
import ray

ROWS = {}
GIB = 1 << 30


def row(metric):
    def register(function):
        ROWS[metric] = function
        return function

    return register


@ray.remote
def noop():
    return None


@ray.remote
def read_pages(array):
    return int(array[::4096].sum())


@ray.remote(max_retries=3)
def die_once(marker):
    if not os.path.exists(marker):
        with open(marker, "w") as file:
            file.write(repr(time.time()))
        os.kill(os.getpid(), signal.SIGKILL)
    return None


@ray.remote(max_restarts=-1, max_task_retries=-1)
class Counter:
    def __init__(self):
        self.value = 0

    def incr(self, by):
        self.value += by
        return self.value

    def pid(self):
        return os.getpid()


def seconds(call):
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def p50(call, calls, warm_up, pause=0.0):
    times = []
    for index in range(warm_up + calls):
        if pause:
            time.sleep(pause)
        elapsed = seconds(call)
        if index >= warm_up:
            times.append(elapsed)
    return statistics.median(times)


def up():
    if not ray.is_initialized():
        ray.init(log_to_driver=False, object_store_memory=4 * GIB)
        ray.get([noop.remote() for _ in range(100)])


def down():
    if ray.is_initialized():
        ray.shutdown()


@row("init_ms")
def init_ms():
    down()
    return 1e3 * seconds(lambda: ray.init(log_to_driver=False))


@row("first_task_ms")
def first_task_ms():
    down()
    ray.init(log_to_driver=False)
    return 1e3 * seconds(lambda: ray.get(noop.remote()))


@row("shutdown_ms")
def shutdown_ms():
    down()
    ray.init(log_to_driver=False)
    ray.get(noop.remote())
    return 1e3 * seconds(ray.shutdown)


@row("shutdown_1gib_ms")
def shutdown_1gib_ms():
    down()
    up()
    kept = ray.put(numpy.ones(GIB, dtype=numpy.uint8))
    elapsed = seconds(ray.shutdown)
    del kept
    return 1e3 * elapsed


@row("task_sync_us_process")
def task_sync_us():
    up()
    return 1e6 * p50(lambda: ray.get(noop.remote()), 1000, 100)


@row("task_sync_paced_us_process")
def task_sync_paced_us():
    up()
    return 1e6 * p50(lambda: ray.get(noop.remote()), 300, 20, pause=0.001)


@row("actor_call_sync_us_process")
def actor_call_sync_us():
    up()
    counter = Counter.remote()
    return 1e6 * p50(lambda: ray.get(counter.incr.remote(1)), 1000, 100)


@row("tasks_async_per_s_process")
def tasks_async_per_s():
    up()
    count = 2_000
    return count / seconds(lambda: ray.get([noop.remote() for _ in range(count)]))


@row("actor_calls_async_per_s_process")
def actor_calls_async_per_s():
    up()
    counter = Counter.remote()
    ray.get(counter.incr.remote(1))
    count = 5_000
    return count / seconds(lambda: ray.get([counter.incr.remote(1) for _ in range(count)]))


@row("put_gib_per_s")
def put_gib_per_s():
    up()
    array = numpy.ones(GIB, dtype=numpy.uint8)
    first = ray.put(array)
    del first
    time.sleep(0.5)
    return 1 / seconds(lambda: ray.put(array))


@row("put_fresh_gib_per_s")
def put_fresh_gib_per_s():
    down()
    up()
    array = numpy.ones(GIB, dtype=numpy.uint8)
    return 1 / seconds(lambda: ray.put(array))


@row("get_1gib_us")
def get_1gib_us():
    up()
    reference = ray.put(numpy.ones(GIB, dtype=numpy.uint8))
    return 1e6 * p50(lambda: ray.get(reference), 100, 10)


@row("get_1gib_fresh_worker_ms")
def get_1gib_fresh_worker_ms():
    down()
    up()
    reference = ray.put(numpy.ones(GIB, dtype=numpy.uint8))
    return 1e3 * seconds(lambda: ray.get(read_pages.remote(reference)))


@row("put_small_us")
def put_small_us():
    up()
    value = bytes(1024)
    return 1e6 * p50(lambda: ray.put(value), 1000, 100)


@row("get_small_us")
def get_small_us():
    up()
    reference = ray.put(bytes(1024))
    return 1e6 * p50(lambda: ray.get(reference), 1000, 100)


@row("wait_1k_us")
def wait_1k_us():
    up()
    references = [noop.remote() for _ in range(1000)]
    ray.get(references)
    return 1e6 * p50(lambda: ray.wait(references, num_returns=len(references)), 100, 10)


@row("get_10k_refs_ms")
def get_10k_refs_ms():
    up()
    references = [ray.put(1) for _ in range(10_000)]
    return 1e3 * seconds(lambda: ray.get(references))


@row("actor_create_ms_process")
def actor_create_ms():
    up()
    kept = []

    def create():
        counter = Counter.options(num_cpus=0).remote()
        ray.get(counter.incr.remote(1))
        kept.append(counter)

    return 1e3 * seconds(lambda: [create() for _ in range(10)]) / 10


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        direct = [int(child) for child in file.read().split()]
    return direct + [deeper for child in direct for deeper in children(child)]


def pss_mib(pid):
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            return sum(int(line.split()[1]) for line in file if line.startswith("Pss:")) / 1024
    except OSError:
        return 0.0


def rss_mib(pid):
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("Rss:")) / 1024


def cpu_seconds(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except OSError:
        return 0.0


@row("worker_rss_mib")
def worker_rss_mib():
    up()
    return rss_mib(ray.get(ray.remote(lambda: os.getpid()).remote()))


@row("cluster_rss_mib")
def cluster_rss_mib():
    down()
    up()
    time.sleep(2)
    return sum(pss_mib(pid) for pid in children(os.getpid()))


@row("idle_cpu_percent")
def idle_cpu_percent():
    up()
    ray.get([noop.remote() for _ in range(1000)])
    family = [os.getpid()] + children(os.getpid())
    before = sum(cpu_seconds(pid) for pid in family)
    time.sleep(5)
    return 100 * (sum(cpu_seconds(pid) for pid in family) - before) / 5


@row("worker_kill_to_retry_ms")
def worker_kill_to_retry_ms():
    up()
    marker = f"/tmp/ray-bench-peer-{os.getpid()}-{time.monotonic_ns()}"
    ray.get(die_once.remote(marker))
    answered = time.time()
    with open(marker) as file:
        killed = float(file.read())
    os.unlink(marker)
    return 1e3 * (answered - killed)


@row("actor_kill_to_restart_ms")
def actor_kill_to_restart_ms():
    up()
    counter = Counter.remote()
    pid = ray.get(counter.pid.remote())
    started = time.perf_counter()
    os.kill(pid, signal.SIGKILL)
    ray.get(counter.incr.remote(1))
    return 1e3 * (time.perf_counter() - started)


def main():
    repeats, metrics = int(sys.argv[1]), sys.argv[2:]
    for metric in metrics:
        if metric in ROWS:
            value = statistics.median(ROWS[metric]() for _ in range(repeats))
            print(json.dumps({"metric": metric, "value": value}), flush=True)
    down()


main()
