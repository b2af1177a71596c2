/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A switch for the test that shows each barrier of a commit to be needed. */
#pragma once

#include <stdatomic.h>

/* Bit n: leave out the barrier before rank n; bit IM_COMMIT_RANKS: the one at the end. */
extern atomic_uint im_commit_left_out;
