"""Becomes another program, which is handed a listening socket as a service manager does it.

`python activate.py FD PROGRAM ARGUMENT …`: only the process itself knows its id before it is that program.
"""

import os
import sys

FIRST_FD = 3

fd, *command = sys.argv[1:]
if int(fd) == FIRST_FD:
    os.set_inheritable(FIRST_FD, True)
else:
    os.dup2(int(fd), FIRST_FD)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execvp(command[0], command)
