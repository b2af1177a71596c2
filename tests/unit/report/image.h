/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Images to report on: a disk in memory under a name, and a parent with facts. */
#pragma once

#include "disk.h"
#include "report/report.h"

/* An image called PATH of which DISK is the disk; borrows both. */
ImImage test_image (const char *path, TestDisk *disk);

/* A disk with a parent, both with facts; the test unreferences it. */
ImBlock *test_chain_new (ImFile *file);
