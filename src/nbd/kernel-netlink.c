/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Attaching by generic netlink: the kernel keeps the device, nobody waits in it. */
#include "base/error.h"
#include "nbd/kernel-way.h"
#include <errno.h>
#include <linux/nbd-netlink.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>
#include <netlink/netlink.h>

/* Connections that the kernel spreads its processors over. */
#define SOCKETS_MAX 4

/* How long a device that nobody has attached may be open: a program that has a look at
 * each disk that changed is done by then. */
#define OPEN_MILLISECONDS 2000
#define LOOK_MILLISECONDS 20

typedef struct {
  struct nl_sock *socket;
  int family;
  int errnum; /* what the kernel answered; 0: it agreed */
  bool has_index;
  unsigned index; /* of the device that it attached */
} Talk;

static void
talk_clear (Talk *talk)
{
  nl_socket_free (talk->socket);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Talk, talk_clear)

static int
take_reply (struct nl_msg *message, void *data)
{
  Talk *talk = data;
  struct nlattr *attributes[NBD_ATTR_MAX + 1];
  if (genlmsg_parse (nlmsg_hdr (message), 0, attributes, NBD_ATTR_MAX, NULL) >= 0 &&
      attributes[NBD_ATTR_INDEX]) {
    talk->has_index = true;
    talk->index = nla_get_u32 (attributes[NBD_ATTR_INDEX]);
  }
  return NL_OK;
}

/* The library's own numbers stand for several errors each. */
static int
take_error (struct sockaddr_nl *from, struct nlmsgerr *error, void *data)
{
  ((Talk *)data)->errnum = -error->error;
  return NL_STOP;
}

/* Finds the kernel's side. */
static bool
talk_begin (Talk *talk, GError **error)
{
  talk->socket = nl_socket_alloc ();
  if (!talk->socket || genl_connect (talk->socket) < 0) {
    g_set_error (error, IM_ERROR, IM_ERROR_UNSUPPORTED, "no generic netlink here");
    return false;
  }
  talk->family = genl_ctrl_resolve (talk->socket, NBD_GENL_FAMILY_NAME);
  if (talk->family < 0) {
    g_set_error (error, IM_ERROR, IM_ERROR_UNSUPPORTED,
                 "this kernel does not offer nbd by netlink");
    return false;
  }
  nl_socket_modify_cb (talk->socket, NL_CB_VALID, NL_CB_CUSTOM, take_reply, talk);
  nl_socket_modify_err_cb (talk->socket, NL_CB_CUSTOM, take_error, talk);
  return true;
}

/* A message for COMMAND; NULL: no memory. */
static struct nl_msg *
new_message (const Talk *talk, uint8_t command)
{
  struct nl_msg *message = nlmsg_alloc ();
  if (message && !genlmsg_put (message, NL_AUTO_PORT, NL_AUTO_SEQ, talk->family, 0, 0,
                               command, NBD_GENL_VERSION)) {
    nlmsg_free (message);
    message = NULL;
  }
  return message;
}

/* Sends MESSAGE, which it frees, and waits.  Returns 0 or an errno. */
static int
ask (Talk *talk, struct nl_msg *message)
{
  talk->errnum = 0;
  int result = nl_send_sync (talk->socket, message);
  if (talk->errnum != 0)
    return talk->errnum;
  return result < 0 ? EIO : 0;
}

static int
put_sockets (struct nl_msg *message, const ImNbdSetup *setup)
{
  struct nlattr *list = nla_nest_start (message, NBD_ATTR_SOCKETS);
  int failure = list ? 0 : -1;
  for (unsigned i = 0; i < setup->n_sockets && failure == 0; i++) {
    struct nlattr *item = nla_nest_start (message, NBD_SOCK_ITEM);
    failure = item ? nla_put_u32 (message, NBD_SOCK_FD, (uint32_t)setup->sockets[i]) : -1;
    if (item)
      nla_nest_end (message, item);
  }
  if (list)
    nla_nest_end (message, list);
  return failure;
}

/* Returns 0 or an errno. */
static int
ask_connect (Talk *talk, const ImNbdSetup *setup, bool any, unsigned index)
{
  struct nl_msg *message = new_message (talk, NBD_CMD_CONNECT);
  int failure = message ? 0 : -1;
  if (failure == 0 && !any)
    failure = nla_put_u32 (message, NBD_ATTR_INDEX, index);
  if (failure == 0)
    failure = nla_put_u64 (message, NBD_ATTR_SIZE_BYTES, setup->size);
  if (failure == 0)
    failure = nla_put_u64 (message, NBD_ATTR_BLOCK_SIZE_BYTES, setup->block_size);
  if (failure == 0)
    failure = nla_put_u64 (message, NBD_ATTR_SERVER_FLAGS, setup->flags);
  if (failure == 0)
    failure = nla_put_u64 (message, NBD_ATTR_TIMEOUT, setup->timeout);
  if (failure == 0 && setup->backend)
    failure = nla_put_string (message, NBD_ATTR_BACKEND_IDENTIFIER, setup->backend);
  if (failure == 0)
    failure = put_sockets (message, setup);
  if (failure == 0)
    return ask (talk, message);
  if (message)
    nlmsg_free (message);
  return ENOMEM;
}

/* The same with patience for those who only look. */
static int
connect_patiently (Talk *talk, const ImNbdSetup *setup, bool any, unsigned index)
{
  gint64 deadline = g_get_monotonic_time () + OPEN_MILLISECONDS * 1000;
  for (;;) {
    int errnum = ask_connect (talk, setup, any, index);
    if (errnum != EBUSY || any || im_nbd_device_pid (index) != 0 ||
        g_get_monotonic_time () >= deadline)
      return errnum;
    g_usleep (LOOK_MILLISECONDS * 1000);
  }
}

static void
set_error (GError **error, int errnum, const char *what)
{
  if (errnum == EPERM)
    im_set_errno (error, errnum, "%s takes root's rights", what);
  else
    im_set_errno (error, errnum, "%s by netlink", what);
}

/* The state is the thread that the kernel knows as the device's, by its own number, which
 * in a namespace is not ours. */
static bool
netlink_attach (const ImNbdSetup *setup, bool any, unsigned *index, void **ret_state,
                GError **error)
{
  g_auto (Talk) talk = {0};
  if (!talk_begin (&talk, error))
    return false;
  int errnum = connect_patiently (&talk, setup, any, *index);
  if (errnum == EBUSY && !any)
    im_nbd_set_busy (error, *index);
  else if (errnum != 0)
    set_error (error, errnum, "attaching");
  else if (any && !talk.has_index)
    set_error (error, EPROTO, "attaching");
  else if (any)
    *index = talk.index;
  *ret_state = GINT_TO_POINTER (im_nbd_device_pid (*index));
  return errnum == 0 && (!any || talk.has_index);
}

static bool
netlink_disconnect (unsigned index, GError **error)
{
  g_auto (Talk) talk = {0};
  if (!talk_begin (&talk, error))
    return false;
  struct nl_msg *message = new_message (&talk, NBD_CMD_DISCONNECT);
  int errnum = ENOMEM;
  if (message && nla_put_u32 (message, NBD_ATTR_INDEX, index) == 0)
    errnum = ask (&talk, message);
  else if (message)
    nlmsg_free (message);
  if (errnum != 0)
    set_error (error, errnum, "detaching");
  return errnum == 0;
}

static void
netlink_end (void *state, unsigned index)
{
  /* Detached by somebody else it may be another's by now. */
  if (im_nbd_device_pid (index) == GPOINTER_TO_INT (state))
    netlink_disconnect (index, NULL);
}

const ImNbdWay im_nbd_way_netlink = {
    .name = "netlink",
    .max_sockets = SOCKETS_MAX,
    .attach = netlink_attach,
    .end = netlink_end,
    .disconnect = netlink_disconnect,
};
