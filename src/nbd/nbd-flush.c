/* SPDX-License-Identifier: GPL-2.0-or-later */
/* FLUSH: one thread at a time makes those of a connection, and each flush answers all
 * that waited when it began.  A client with many under way so costs one thread and one
 * call for the replies, and not as many as it likes. */
#include "nbd/nbd-job.h"

void
im_nbd_flushes_init (ImNbdFlushes *flushes)
{
  *flushes = (ImNbdFlushes){.end = &flushes->first};
  pthread_mutex_init (&flushes->lock, NULL);
}

void
im_nbd_flushes_clear (ImNbdFlushes *flushes)
{
  pthread_mutex_destroy (&flushes->lock);
}

void
im_nbd_flush_submit (ImNbdTransmission *t, const ImNbdRequest *request)
{
  ImNbdFlushes *flushes = &t->flushes;
  ImNbdJob *job = im_nbd_job_new (t, request, NULL, 0);
  pthread_mutex_lock (&flushes->lock);
  *flushes->end = job;
  flushes->end = &job->next;
  bool starts = !flushes->running;
  flushes->running = true;
  pthread_mutex_unlock (&flushes->lock);
  if (starts)
    im_nbd_transmit_start (t, job);
}

/* All that wait; NULL: there are none, and the next one will be run. */
static ImNbdJob *
take_all (ImNbdFlushes *flushes)
{
  pthread_mutex_lock (&flushes->lock);
  ImNbdJob *jobs = flushes->first;
  flushes->first = NULL;
  flushes->end = &flushes->first;
  flushes->running = jobs != NULL;
  pthread_mutex_unlock (&flushes->lock);
  return jobs;
}

static void
answer_all (ImNbdTransmission *t, ImNbdJob *jobs)
{
  ImNbdItem *first = NULL, **end = &first;
  for (ImNbdJob *job = jobs; job; job = job->next) {
    *end = im_nbd_job_success (job);
    end = &(*end)->next;
  }
  im_nbd_output_push (&t->output, first);
}

static void
fail_all (ImNbdJob *jobs, const GError *error)
{
  for (ImNbdJob *job = jobs; job; job = job->next)
    im_nbd_job_fail (job, error);
}

/* KEPT is freed by whoever runs it. */
static void
free_all (ImNbdJob *jobs, const ImNbdJob *kept)
{
  while (jobs) {
    ImNbdJob *next = jobs->next;
    if (jobs != kept)
      im_nbd_job_free (jobs);
    jobs = next;
  }
}

/* JOB is answered with the first of them, and kept, so that the transmission stays. */
ImNbdJobStep
im_nbd_flush_run (ImNbdJob *job)
{
  ImNbdTransmission *t = job->t;
  for (ImNbdJob *jobs; (jobs = take_all (&t->flushes));) {
    g_autoptr (GError) error = NULL;
    if (im_block_flush (t->export->block, &error))
      answer_all (t, jobs);
    else
      fail_all (jobs, error);
    free_all (jobs, job);
  }
  return IM_NBD_JOB_DONE;
}
