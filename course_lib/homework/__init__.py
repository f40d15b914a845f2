"""Graded homework: from one source to student notebooks, a self-check, marks and feedback.

    variants                      every draw: from the instructor's key, the student and the assignment
    wire                          plain values as bytes, checked before they are believed
    questions  source             what a question asks for; an assignment, and what a student gets of it
    referee                       the trusted process: solution, inputs, comparison
    worker                        the process that runs a student's code
    calls  walls  processes       what it may not ask of the kernel; bubblewrap around it; what it has started
    sandbox                       started, asked, watched, ended
    submissions                   whose notebook is which, and what is in it
    referees  session             the referee's other end; one submission with both processes
    grade  records                all of them: marks, resumed and repeated to the byte
    release  nbgrader             what students and nbgrader get
    running  check  selfcheck     a notebook's cells outside Jupyter; the self-check in it, and of it
    reasons  rendering            reason codes in words; text of strangers on a page
    feedback  summary  export     pages for students and for the instructor; files for Canvas and Moodle
    commands                      the command `course homework`

A test keeps torch and numpy out of the modules that the parent of the untrusted processes imports.
"""
