/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What sfdisk makes of a table, where it is more than a number: nobody outside src/report
 * includes it. */
#pragma once

#include <stdint.h>

/* The name that partition NUMBER of DEVICE has there: "x.img1", "x9p1".  Caller frees. */
char *im_sfdisk_node (const char *device, unsigned number);

/* A GPT entry's attributes, "RequiredPartition LegacyBIOSBootable GUID:48,63"; NULL where
 * none is set that has a name.  Caller frees. */
char *im_sfdisk_attributes (uint64_t attributes);
