"""The library behind the book *Training Deep Neural Networks*.

One module per concept: `course_lib.optimizers`, `course_lib.data`, … Importing this package imports
none of them, so it costs milliseconds; each module brings in torch only when it is used.
"""

__version__ = "0.1.0"
