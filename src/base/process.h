/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Going to the background, readiness, and signals. */
#pragma once

#include <glib.h>
#include <pthread.h>
#include <stdbool.h>

/* Where the caller closed a standard stream, something takes its number that fails as a
 * closed one does: so no file of ours gets it, to be written to by messages or replaced
 * later.  First of all. */
void im_process_hold_standard_streams (void);

/* Forks.  Returns in the child, which has a pipe to its parent; the parent waits there
 * until the child says im_process_ready or dies, and exits with 0 or the child's status
 * (at least 1); it never returns.  To be called before any thread exists. */
bool im_process_background (GError **error);

/* In the child of im_process_background: leaves the session and the directory, points
 * the standard streams at /dev/null, lets messages go to the log, and releases the
 * parent with status 0.  Elsewhere: does nothing.  Called once, when all is ready. */
void im_process_ready (void);

/* Blocks the signals that a server handles, in this thread and all it will make, and
 * ignores SIGPIPE.  To be called before any thread exists. */
void im_process_block_signals (void);

/* In a child about to exec: undoes im_process_block_signals. */
void im_process_restore_signals (void);

/* Starts the thread that takes SIGTERM, SIGINT and SIGHUP and calls STOP (data, signal)
 * for each, on that thread. */
void im_process_watch_signals (void (*stop) (void *data, int signal), void *data);

/* Ends and joins that thread; nothing happens where there is none. */
void im_process_unwatch_signals (void);

/* pthread_create with all signals blocked in the new thread.  Returns 0 or an errno. */
int im_process_start_thread (pthread_t *ret_thread, void *(*run) (void *data),
                             void *data);

/* For a process whose answers the kernel waits for when it writes its caches back: its
 * own memory then neither waits for that nor is swapped out.  As far as its rights go;
 * to be called before any thread exists, after any fork. */
void im_process_serve_kernel (void);

/* The number of sockets that socket activation has handed to this very process, from
 * descriptor 3 on; children neither inherit them nor hear of them.  To be called once,
 * before any fork or thread. */
int im_process_take_activation (void);

/* Has SIGTERM sent to this process when its parent ends. */
bool im_process_end_with_parent (GError **error);

/* True where process PID has been killed or has ended, though it may still be waited for,
 * be it by its parent or because a thread of it is stuck in the kernel. */
bool im_process_is_dying (pid_t pid);

/* Raises the number of open files to the hard limit. */
void im_process_raise_file_limit (void);
