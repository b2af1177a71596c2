/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which of a session's threads wait for the kernel's next request.
 *
 * The kernel wakes those that wait in turn.  A client with one request at a time would so
 * be served by all threads one after another, each with another buffer, at twice the
 * cost.  Therefore only two wait (one, where there is one processor), and serve by
 * themselves what is quick; the others are parked.  There are more
 *
 *   where a request has to wait for something: another thread takes its place first
 *   where requests are there already when somebody asks, again and again: up to one for
 *   each processor
 *
 * and fewer again where those that wait sleep each time.  Thread-safe; a watcher is its
 * thread's own. */
#pragma once

#include <glib.h>
#include <stdbool.h>

typedef struct ImFuseWatch ImFuseWatch;

/* At most THREADS will watch, and PROCESSORS of them without a reason to wait. */
ImFuseWatch *im_fuse_watch_new (unsigned threads, unsigned processors);
void im_fuse_watch_free (ImFuseWatch *watch);

/* Nobody is parked from now on. */
void im_fuse_watch_end (ImFuseWatch *watch);

typedef struct {
  ImFuseWatch *watch;
  bool watching;
  unsigned ready, slept; /* requests in a row: they were there; they were waited for */
  long sleeps;           /* of the thread, as the kernel counts them */
  gint64 came;           /* when the last request did */
} ImFuseWatcher;

/* Before the thread asks for a request: parks it for as long as it is not needed. */
void im_fuse_watch_begin (ImFuseWatcher *watcher);

/* A request has come. */
void im_fuse_watch_got (ImFuseWatcher *watcher);

/* The thread is about to wait for something else, or to end.  Needless calls do nothing.
 */
void im_fuse_watch_leave (ImFuseWatcher *watcher);

/* Is it worth trying whether a request can be served without waiting? */
bool im_fuse_watch_dares (ImFuseWatcher *watcher);

/* It was not, and cost something. */
void im_fuse_watch_doubt (ImFuseWatcher *watcher);
