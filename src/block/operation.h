/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Operations: every use of a mapping lies between a begin and an end.  Whoever takes
 * something out of a mapping can tell when nobody uses it any more, without a lock on the
 * side of those who use it.  Any thread; operations of one thread nest. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

void im_operation_begin (void);
void im_operation_end (void);

/* Stands for all operations that have begun before this call.  What is removed before it
 * is not seen by later ones. */
uint64_t im_operation_stamp (void);

/* Have all those ended? */
bool im_operation_passed (uint64_t stamp);
