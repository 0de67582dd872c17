"""A server as a process: how it is ended, what it answers, what it takes."""
import contextlib
import os
import pathlib
import subprocess
import urllib.request


@contextlib.contextmanager
def running(command, **arguments):
    """Runs a command, and ends it by SIGTERM."""
    process = subprocess.Popen(command, **arguments)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            raise SystemExit(f"{command[0]} did not end within 30 s of SIGTERM")


def get(url, path):
    """A response as text."""
    with urllib.request.urlopen(url + path, timeout=30) as response:
        return response.read().decode()


def memory(process):
    """Bytes that a process has resident."""
    for line in pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) << 10
    raise SystemExit("the server has ended")


def processor_seconds(process):
    """Seconds of processors that a process has had, all its threads together."""
    fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
