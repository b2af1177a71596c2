/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Exercises a mounted disk through several files at once, and knows at each byte what
 * must be read.
 *
 *   fsx [OPTION...] SIZE PATH@BASE...
 *
 * Each PATH shows the disk, of SIZE bytes, from byte BASE on: the whole, a partition, a
 * loop device above either.  Workers, some of them threads of one process, claim ranges
 * of the disk, whichever the path, and change or read them by every way that the kernel
 * has; what is read is held against a model in memory.  At the end all of every path is.
 *
 *   -t SECONDS  -s SEED  -p PROCESSES  -w WORKERS of each  -o FILE: the model, at the end
 *
 * The disk's first contents are read from the first path, which shows all of it. */
#include "model.h"
#include "view.h"
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_PLACES 16u
#define MAX_LENGTH (1u << 20)
/* Copies are between files, reads and writes of one. */
#define COPY_WEIGHT 5u

typedef struct {
  Model *model;
  ViewPlace places[MAX_PLACES];
  unsigned n_places, processes, workers;
  uint64_t seed;
  double seconds;
  const char *out;
} Options;

typedef struct {
  const Options *options;
  Model *model;
  unsigned number;
  uint64_t random;
  View views[MAX_PLACES];
  uint8_t *buf; /* MAX_LENGTH, aligned for direct I/O */
  uint64_t actions;
  pthread_t thread;
} Worker;

static double
now (void)
{
  struct timespec ts;
  clock_gettime (CLOCK_MONOTONIC, &ts);
  return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* xorshift64*: the same on all machines. */
static uint64_t
draw (Worker *worker)
{
  uint64_t x = worker->random;
  x ^= x >> 12;
  x ^= x << 25;
  x ^= x >> 27;
  worker->random = x;
  return x * UINT64_C (2685821657736338717);
}

/* A number less than N, or 0. */
static uint64_t
below (Worker *worker, uint64_t n)
{
  return n ? (draw (worker) >> 11) % n : 0;
}

/* Lengths that meet the edges of sectors, pages and clusters, and others. */
static uint64_t
draw_length (Worker *worker)
{
  static const uint64_t lengths[] = {1, 512, 4096, 65536};
  switch (below (worker, 8)) {
  case 0:
    return lengths[below (worker, 4)];
  case 1:
    return 1 + below (worker, MAX_LENGTH);
  case 2:
  case 3:
    return 1 + below (worker, 100000);
  default:
    return 1 + below (worker, 9000);
  }
}

/* A range of PLACE, and a part of it.  Half of all begin within a tenth of the disk, so
 * that workers meet; some on the edge of a page or a cluster. */
static void
draw_range (Worker *worker, const ViewPlace *place, uint64_t *ret_at, uint64_t *ret_n)
{
  uint64_t at = below (worker, below (worker, 2) ? place->size : 1 + place->size / 10);
  if (below (worker, 4) == 0)
    at &= ~UINT64_C (4095);
  else if (below (worker, 8) == 0)
    at &= ~UINT64_C (65535);
  uint64_t n = draw_length (worker);
  at -= at % place->sector;
  n += (place->sector - n % place->sector) % place->sector;
  if (n > MAX_LENGTH)
    n = MAX_LENGTH;
  *ret_at = at;
  *ret_n = n < place->size - at ? n : place->size - at;
}

static void
fail (Worker *worker, const char *what, const ViewPlace *place, uint64_t at, uint64_t n)
{
  if (!atomic_exchange (&worker->model->stop, true))
    printf ("worker %u: %s, %s, %" PRIu64 " to %" PRIu64 ": %s\n", worker->number, what,
            place->path, at, at + n, strerror (errno));
}

static void
fill (Worker *worker, size_t n)
{
  for (size_t i = 0; i < n; i += 8) {
    uint64_t bytes = draw (worker);
    memcpy (worker->buf + i, &bytes, n - i < 8 ? n - i : 8);
  }
}

/* Where SEEK_DATA saw a hole nothing but zeros may be. */
static void
check_holes (Worker *worker, const ViewPlace *place, uint64_t at, size_t n)
{
  const uint8_t *data = memchr (worker->buf, 1, n);
  size_t hole = data ? (size_t)(data - worker->buf) : n;
  if (hole)
    model_check (worker->model, worker->number, "seek data: a hole", place->path, at,
                 worker->buf, hole);
}

/* After ACTION through PLACE: what it read is compared, what it wrote is remembered. */
static void
settle (Worker *worker, const ViewAction *action, const ViewPlace *place, uint64_t at,
        size_t n)
{
  uint64_t in_disk = place->base + at;
  if (action->kind == DO_READ) {
    model_check (worker->model, worker->number, action->name, place->path, in_disk,
                 worker->buf, n);
    return;
  }
  if (action->kind == DO_SEEK) {
    check_holes (worker, place, in_disk, n);
    return;
  }
  if (action->kind == DO_ZERO)
    memset (worker->model->bytes + in_disk, 0, n);
  else
    memcpy (worker->model->bytes + in_disk, worker->buf, n);
  model_note (worker->model, worker->number, action->name, place->path, in_disk,
              in_disk + n);
}

static void
act (Worker *worker, const ViewAction *action, View *view)
{
  const ViewPlace *place = view->place;
  uint64_t at, n;
  draw_range (worker, place, &at, &n);
  if (action->kind == DO_NOTHING) {
    if (!action->run (view, worker->buf, (size_t)n, at))
      fail (worker, action->name, place, at, n);
    return;
  }
  ModelRange range = {.begin = place->base + at,
                      .end = place->base + at + n,
                      .exclusive = action->kind == DO_WRITE || action->kind == DO_ZERO};
  if (action->kind == DO_WRITE)
    fill (worker, (size_t)n);
  if (!model_claim (worker->model, worker->number, &range, 1))
    return;
  if (action->run (view, worker->buf, (size_t)n, at))
    settle (worker, action, place, at, (size_t)n);
  else
    fail (worker, action->name, place, at, n);
  model_release (worker->model, worker->number);
}

static bool
copy_all (View *from, uint64_t from_at, View *to, uint64_t to_at, uint64_t n)
{
  loff_t in = (loff_t)from_at, out = (loff_t)to_at;
  while (n > 0) {
    ssize_t done = copy_file_range (from->reader, &in, to->writer, &out, n, 0);
    if (done == 0)
      errno = ENODATA;
    if (done <= 0)
      return false;
    n -= (uint64_t)done;
  }
  return true;
}

/* copy_file_range between two places of the disk that do not overlap. */
static void
copy (Worker *worker, View *from, View *to)
{
  uint64_t from_at, to_at, n, to_n;
  draw_range (worker, from->place, &from_at, &n);
  draw_range (worker, to->place, &to_at, &to_n);
  n = to_n < n ? to_n : n;
  ModelRange ranges[2] = {
      {from->place->base + from_at, from->place->base + from_at + n, false},
      {to->place->base + to_at, to->place->base + to_at + n, true}};
  if ((ranges[0].begin < ranges[1].end && ranges[1].begin < ranges[0].end) ||
      !model_claim (worker->model, worker->number, ranges, 2))
    return;
  if (copy_all (from, from_at, to, to_at, n)) {
    memcpy (worker->model->bytes + ranges[1].begin,
            worker->model->bytes + ranges[0].begin, n);
    model_note (worker->model, worker->number, "copy_file_range", to->place->path,
                ranges[1].begin, ranges[1].end);
  } else {
    fail (worker, "copy_file_range", to->place, to_at, n);
  }
  model_release (worker->model, worker->number);
}

/* Draws what to do, until the drawn view can do it. */
static void
step (Worker *worker, unsigned weights)
{
  View *view = &worker->views[below (worker, worker->options->n_places)];
  uint64_t drawn = below (worker, weights);
  if (drawn < COPY_WEIGHT) {
    View *other = &worker->views[below (worker, worker->options->n_places)];
    unsigned to = VIEW_FILE | VIEW_WRITABLE;
    if ((view->place->kind & VIEW_FILE) && (other->place->kind & to) == to)
      copy (worker, view, other);
    return;
  }
  drawn -= COPY_WEIGHT;
  const ViewAction *action = view_actions;
  while (drawn >= action->weight)
    drawn -= action++->weight;
  if ((view->place->kind & action->on) == action->on)
    act (worker, action, view);
}

static void *
work (void *data)
{
  Worker *worker = data;
  unsigned weights = COPY_WEIGHT;
  for (unsigned i = 0; i < n_view_actions; i++)
    weights += view_actions[i].weight;
  for (unsigned i = 0; i < worker->options->n_places; i++)
    view_open (&worker->options->places[i], &worker->views[i]);
  double end = now () + worker->options->seconds;
  while (now () < end && !atomic_load (&worker->model->stop)) {
    step (worker, weights);
    worker->actions++;
  }
  for (unsigned i = 0; i < worker->options->n_places; i++)
    view_close (&worker->views[i]);
  return NULL;
}

static uint8_t *
new_buffer (void)
{
  uint8_t *buf = aligned_alloc (4096, MAX_LENGTH);
  if (!buf)
    err (1, "a buffer");
  return buf;
}

/* One process: its threads, to their end; never returns. */
static void
run_process (const Options *options, unsigned process)
{
  Worker *workers = calloc (options->workers, sizeof *workers);
  for (unsigned i = 0; i < options->workers; i++) {
    Worker *worker = &workers[i];
    worker->options = options;
    worker->model = options->model;
    worker->number = process * options->workers + i;
    worker->random = options->seed * 7919 + worker->number + 1;
    worker->buf = new_buffer ();
    if (pthread_create (&worker->thread, NULL, work, worker) != 0)
      errx (1, "no thread");
  }
  uint64_t actions = 0;
  for (unsigned i = 0; i < options->workers; i++) {
    pthread_join (workers[i].thread, NULL);
    actions += workers[i].actions;
    free (workers[i].buf);
  }
  free (workers);
  printf ("process %u: %" PRIu64 " steps\n", process, actions);
  fflush (stdout);
  _exit (atomic_load (&options->model->stop) ? 1 : 0);
}

static bool
run_all (const Options *options)
{
  bool good = true;
  fflush (stdout);
  for (unsigned i = 0; i < options->processes; i++) {
    pid_t pid = fork ();
    if (pid < 0)
      err (1, "fork");
    if (pid == 0)
      run_process (options, i);
  }
  for (unsigned i = 0; i < options->processes; i++) {
    int status = 1;
    if (wait (&status) < 0 || status != 0)
      good = false;
    if (!good)
      atomic_store (&options->model->stop, true);
    if (WIFSIGNALED (status))
      printf ("a process died of signal %d\n", WTERMSIG (status));
  }
  return good;
}

/* Reads all of PLACE by each way that has no other, into the model or against it. */
static bool
go_through (const Options *options, const ViewPlace *place, bool learn)
{
  View view;
  uint8_t *buf = new_buffer ();
  bool good = true;
  view_open (place, &view);
  for (uint64_t at = 0; at < place->size && good; at += MAX_LENGTH) {
    size_t n = place->size - at < MAX_LENGTH ? (size_t)(place->size - at) : MAX_LENGTH;
    int fd = place->kind & VIEW_FILE ? view.reader : view.direct;
    if (pread (fd, buf, n, (off_t)at) != (ssize_t)n)
      err (1, "%s: read", place->path);
    if (learn)
      memcpy (options->model->bytes + at, buf, n);
    else
      good = model_check (options->model, 0, "at the end", place->path, place->base + at,
                          buf, n);
    if (good && view.shared)
      good = model_check (options->model, 0, "at the end, map", place->path,
                          place->base + at, view.shared + at, n);
  }
  view_close (&view);
  free (buf);
  return good;
}

static void
save (const Options *options)
{
  FILE *file = fopen (options->out, "w");
  if (!file ||
      fwrite (options->model->bytes, 1, options->model->size, file) !=
          options->model->size ||
      fclose (file) != 0)
    err (1, "%s", options->out);
}

static void
parse_places (Options *options, char **words, uint64_t size)
{
  for (; *words; words++) {
    if (options->n_places == MAX_PLACES)
      errx (1, "more than %u paths", MAX_PLACES);
    ViewPlace *place = &options->places[options->n_places++];
    view_place_parse (*words, place);
    if (place->base > size || place->size > size - place->base)
      errx (1, "%s: %" PRIu64 " bytes from %" PRIu64 " on are more than the disk has",
            place->path, place->size, place->base);
  }
}

static void
parse (Options *options, int argc, char **argv)
{
  int option;
  while ((option = getopt (argc, argv, "t:s:p:w:o:")) != -1) {
    switch (option) {
    case 't':
      options->seconds = strtod (optarg, NULL);
      break;
    case 's':
      options->seed = strtoull (optarg, NULL, 0);
      break;
    case 'p':
      options->processes = (unsigned)strtoul (optarg, NULL, 0);
      break;
    case 'w':
      options->workers = (unsigned)strtoul (optarg, NULL, 0);
      break;
    case 'o':
      options->out = optarg;
      break;
    default:
      exit (1);
    }
  }
  if (argc - optind < 2 || options->processes * options->workers > MODEL_WORKERS)
    errx (1, "usage: fsx [-t SECONDS] [-s SEED] [-p PROCESSES] [-w WORKERS] [-o FILE] "
             "SIZE PATH@BASE...");
  uint64_t size = strtoull (argv[optind], NULL, 0);
  parse_places (options, argv + optind + 1, size);
  options->model = model_new (size);
}

int
main (int argc, char **argv)
{
  Options options = {.processes = 3,
                     .workers = 2,
                     .seconds = 5,
                     .seed = (uint64_t)getpid () * 65537 + (uint64_t)time (NULL)};
  parse (&options, argc, argv);
  printf ("seed %" PRIu64 "\n", options.seed);
  if (options.places[0].size != options.model->size)
    errx (1, "%s: does not show the whole disk", options.places[0].path);
  go_through (&options, &options.places[0], true);
  bool good = run_all (&options);
  for (unsigned i = 0; i < options.n_places && good; i++)
    good = go_through (&options, &options.places[i], false);
  if (options.out)
    save (&options);
  return good ? 0 : 1;
}
