/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the objects of --tls-authz say. */
#pragma once

#include "cli/object.h"
#include "nbd/nbd-authz.h"

/* Errors are about OBJECT, or name the file that it reads. */
ImNbdAuthz *im_authz_open (const ImObject *object, GError **error);
