/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Waiting until an attached device can be used. */
#pragma once

#include "export/export.h"
#include "nbd/kernel.h"

/* The number in an export's name "p7"; 0 where it is no partition of the table. */
unsigned im_nbd_ready_number (const ImExport *export);

/* Has the kernel read the partition table of device INDEX, which is PATH, and waits for
 * the nodes of SET's partitions.  What does not come is a warning. */
void im_nbd_ready_wait (unsigned index, const char *path, const ImExportSet *set,
                        const ImNbdKernelOptions *options);
