/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the fuzzers of NBD connections share. */
#pragma once

#include "nbd/nbd-connection.h"

/* A small disk: data, zeros, damage, data, in turns of this many bytes; and p1, the three
 * turns from the middle of the first on. */
#define FUZZ_TURN      (48u << 10)
#define FUZZ_DISK_SIZE (8u * FUZZ_TURN)

/* One for the process. */
ImNbdHost *fuzz_host (void);
