"""The book's tools: pairing, checks, parallel execution, build. All work offline; `course book --help`."""
