/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A LUKS image made in memory, so that its fields can be poked. */
#pragma once

#include "formats/luks-layout.h"

/* Places of the sample. */
#define LUKS_SAMPLE_MATERIAL 4096u /* of slot 2; all others are unused */
#define LUKS_SAMPLE_PAYLOAD  69632u
#define LUKS_SAMPLE_DISK     8192u
#define LUKS_SAMPLE_SIZE     (LUKS_SAMPLE_PAYLOAD + LUKS_SAMPLE_DISK)
#define LUKS_SAMPLE_SLOT     2u

#define LUKS_SAMPLE_PASSPHRASE "open sesame"

/* AES with 128 bits in MODE and sha256; byte i of the disk is (i >> 8) + i.  Caller
 * frees. */
uint8_t *luks_sample (const char *mode);
