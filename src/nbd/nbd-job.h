/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests that may have to wait for a device, a decoder or other writers, worked on in
 * the pool.  A job waits for the image, never for the client: a large read leaves in
 * pieces, and where the client does not take them it is parked until there is room. */
#pragma once

#include "nbd/nbd-transmit.h"

struct ImNbdJob {
  ImPoolTask task; /* first: the pool's way back */
  ImNbdParked parked;
  ImNbdTransmission *t;
  ImNbdRequest request;
  uint64_t done;        /* bytes that have left, or have been changed */
  size_t received;      /* WRITE: bytes of the payload; the reader's, until it starts */
  ImNbdBuffer *payload; /* WRITE: owned */
  size_t cost;
  ImNbdJob *next; /* FLUSH: of those that wait */
};

/* What became of a step. */
typedef enum {
  IM_NBD_JOB_MORE,
  IM_NBD_JOB_LATER, /* there is more to do, once others had a turn */
  IM_NBD_JOB_DONE,
  IM_NBD_JOB_PARKED,
} ImNbdJobStep;

/* Makes a job that may take MEMORY bytes, which are charged from now on.  PAYLOAD, or
 * NULL, becomes the job's.  For the reader, as the next two. */
ImNbdJob *im_nbd_job_new (ImNbdTransmission *t, const ImNbdRequest *request,
                          ImNbdBuffer *payload, size_t memory);

/* Gives it to the pool, which frees it.  Any thread. */
void im_nbd_job_start (ImNbdJob *job);

/* Does the same work, or the beginning of it, before it returns. */
void im_nbd_job_run (ImNbdJob *job);

/* The last that is done with it, and that it does with the output. */
void im_nbd_job_free (ImNbdJob *job);

/* Answers with ERROR, and says so in the log. */
ImNbdJobStep im_nbd_job_fail (ImNbdJob *job, const GError *error);

/* Answers that it is done; for what has no data in its reply. */
ImNbdJobStep im_nbd_job_succeed (ImNbdJob *job);

/* An item that answers so; the caller pushes it. */
ImNbdItem *im_nbd_job_success (const ImNbdJob *job);

/* Makes the flushes that wait, of which JOB is one, as nbd-flush.c says. */
ImNbdJobStep im_nbd_flush_run (ImNbdJob *job);

/* A step of WRITE, WRITE_ZEROES or TRIM. */
ImNbdJobStep im_nbd_job_change (ImNbdJob *job);
