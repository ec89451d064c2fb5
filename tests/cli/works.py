# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are made of one another, for the tests of updates."""

from recorded import record


class Works:
    """A branch in which files are made of one another. Each command that is really run leaves its
    name in a file outside of the mount."""

    def __init__(self, shell, mount, files, home):
        self.shell, self.mount, self.files, self.home = shell, mount, files, home
        self.marks = home / "marks"
        self.marks.write_text("")

    def run(self, name, script, *words, cwd=None):
        return self.shell.run("run", "-n", name, *words, "sh", "-c",
                              f"echo {name} >> {self.marks}; {script}", cwd=cwd or self.files)

    def make(self, name, script, *words, **more):
        result = self.run(name, script, *words, **more)
        assert result.code == 0, result.err
        self.marks.write_text("")
        return self.last()["id"]

    def update(self, *words, code=0, cwd=None):
        """What was run, in order."""
        self.marks.write_text("")
        self.result = self.shell.run("run", "--update", *words, cwd=cwd or self.files)
        assert self.result.code == code, (self.result.code, self.result.out, self.result.err)
        return self.marks.read_text().split()

    def plan(self, *words, cwd=None):
        """What is told of each step: its name, and the paths of the reasons."""
        doc = self.shell.json("run", "--update", "--dry-run", "--json", *words,
                              cwd=cwd or self.files)
        return [(s["run"]["name"], [r["path"] for r in s["reasons"]]) for s in doc["steps"]]

    def put(self, name, text):
        (self.files / name).write_text(text)

    def text(self, name):
        return (self.files / name).read_text()

    def commit(self):
        self.shell.ok("commit", self.files)

    def last(self):
        return record(self.mount)
